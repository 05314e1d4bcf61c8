"""The inbox between the link and the state: bounded, with one policy for each kind of message.

- durable events (snapshot, change, narration): never dropped. More than `MAX_EVENTS` waiting means
  that we cannot keep up one by one: the inbox empties itself and asks for a new snapshot.
- telemetry: the newest of each node is kept, older ones are replaced; it may wait longer.
- tap chunks: the text of each stream is joined; above `MAX_TEXT` characters in all the oldest go,
  and are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rbee_agent.contracts.events import FleetSnapshot, TapChunk, TapStream
from rbee_agent.contracts.nodes import Telemetry
from rbee_tui.state.events import Event

MAX_EVENTS: Final = 20_000
MAX_TEXT: Final = 2_000_000


@dataclass
class Batch:
    """What came since the last one was taken."""

    events: list[Event] = field(default_factory=list)
    chunks: list[TapChunk] = field(default_factory=list)
    unreadable: int = 0
    text_dropped: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to apply."""
        return not (self.events or self.chunks or self.unreadable)


class Inbox:
    """Collects between two flushes; touched by one event loop only."""

    def __init__(self) -> None:
        self._durable: list[Event] = []
        self._telemetry: dict[str, Event] = {}
        self._streams: dict[str, TapStream] = {}
        self._tap_at = 0.0
        self._tap_dropped = 0
        self._text = 0
        self._text_dropped = 0
        self._unreadable = 0
        self.overflowed = False
        """Durable events were let go: only a new snapshot makes the state whole again."""

    def put(self, event: Event) -> None:
        """Take one message in."""
        payload = event.payload
        if isinstance(payload, Telemetry):
            self._telemetry[payload.node_id] = event
        elif isinstance(payload, TapChunk):
            self._tap(payload)
        elif isinstance(payload, FleetSnapshot):
            self._durable = [event]
            self._telemetry.clear()
            self.overflowed = False
        elif len(self._durable) >= MAX_EVENTS:
            self._durable.clear()
            self.overflowed = True
        elif not self.overflowed:
            self._durable.append(event)

    def put_unreadable(self) -> None:
        """Count a message that could not be read."""
        self._unreadable += 1

    @property
    def telemetry_waits(self) -> int:
        """Of how many nodes telemetry waits."""
        return len(self._telemetry)

    def take_telemetry(self) -> list[Event]:
        """The newest telemetry of each node that sent some."""
        waiting, self._telemetry = list(self._telemetry.values()), {}
        return waiting

    def take(self) -> Batch:
        """Everything else that waits, in an order that can be applied."""
        batch = Batch([*self._durable], [], self._unreadable)
        if self._streams:
            streams = list(self._streams.values())
            batch.chunks.append(
                TapChunk(at=self._tap_at, streams=streams, dropped=self._tap_dropped)
            )
        batch.text_dropped, self._text_dropped = self._text_dropped, 0
        self._durable, self._streams = [], {}
        self._unreadable = self._text = 0
        return batch

    def _tap(self, chunk: TapChunk) -> None:
        self._tap_at = chunk.at
        self._tap_dropped = max(self._tap_dropped, chunk.dropped)
        for part in chunk.streams:
            before = self._streams.get(part.job_id)
            text = part.text
            if before is not None and before.text:
                text = before.text + (text or "")
            self._streams[part.job_id] = part.model_copy(update={"text": text})
            self._text += len(part.text or "")
        if self._text > MAX_TEXT:
            self._shed()

    def _shed(self) -> None:
        """Keep the newest half of each stream's waiting text."""
        for job_id, part in self._streams.items():
            text = part.text or ""
            keep = len(text) // 2
            self._text_dropped += len(text) - keep
            self._streams[job_id] = part.model_copy(update={"text": text[len(text) - keep :]})
        self._text = sum(len(part.text or "") for part in self._streams.values())
