"""Setbacks: which wishes could not be fulfilled, how often, why, and when they are tried again."""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.errors import RbeeError

FIRST_S = 1.0
MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class Setback:
    """What became of the last attempts at one wish."""

    error: RbeeError
    """Of the last one."""
    tries: int
    again_at: float
    """Monotonic time of the next one."""


class Setbacks:
    """By the id of the wish; one that was fulfilled or withdrawn has none."""

    def __init__(self) -> None:
        self._known: dict[str, Setback] = {}

    def note(self, wish_id: str, error: RbeeError, now: float) -> Setback:
        """One attempt more failed: the pauses grow from one second to half a minute."""
        before = self._known.get(wish_id)
        tries = 1 if before is None else before.tries + 1
        pause = min(MOST_S, FIRST_S * 2 ** (tries - 1))
        made = Setback(error, tries, now + pause)
        self._known[wish_id] = made
        return made

    def clear(self, wish_id: str) -> None:
        """It was fulfilled, or is wished for no more."""
        self._known.pop(wish_id, None)

    def error(self, wish_id: str) -> RbeeError | None:
        """Why the last attempt failed."""
        setback = self._known.get(wish_id)
        return None if setback is None else setback.error

    def due(self, wish_id: str, now: float) -> bool:
        """Whether the wish may be tried now."""
        setback = self._known.get(wish_id)
        return setback is None or setback.again_at <= now

    def next_at(self, now: float) -> float | None:
        """When the next wish is to be tried again; None where none waits for that."""
        return min((s.again_at for s in self._known.values() if s.again_at > now), default=None)
