"""Reading the queen's feed: from a server event's name and JSON text to a value of the contracts.

This is the door: remote text is cleaned here (see `clean`), and what cannot be read is refused
with a reason instead of reaching a screen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import ValidationError

from rbee_agent.contracts.events import Change, FleetSnapshot, Narration, TapChunk
from rbee_agent.contracts.nodes import Telemetry
from rbee_tui.state.clean import clean_json, needs_cleaning

Payload = FleetSnapshot | Change | Telemetry | Narration | TapChunk

_TYPES: dict[str, type[FleetSnapshot | Change | Telemetry | Narration | TapChunk]] = {
    "snapshot": FleetSnapshot,
    "change": Change,
    "telemetry": Telemetry,
    "narration": Narration,
    "tap": TapChunk,
}


class Unreadable(ValueError):
    """A message of the feed is not what its name says; holds no text of the message."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message of the feed, and when it came (our own Unix seconds)."""

    payload: Payload
    received_at: float


def read_event(name: str, data: str, *, received_at: float) -> Event | None:
    """Turn one server event into a value.

    Args:
        name: the ``event:`` field.
        data: the JSON text.
        received_at: our clock when it came, Unix seconds.

    Returns:
        The event, or None for a name that this version does not know (a newer queen).

    Raises:
        Unreadable: the JSON is broken or a known field is missing.
    """
    kind = _TYPES.get(name)
    if kind is None:
        return None
    try:
        if needs_cleaning(data):
            value = clean_json(json.loads(data), lines=name == "tap")
            return Event(kind.read(value), received_at)
        return Event(kind.read_json(data), received_at)
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise Unreadable(f"a {name} event could not be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return type(error).__name__
