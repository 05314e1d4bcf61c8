"""Time as a parameter: monotonic inside, UTC at the edge."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a room needs to know of time."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations and deadlines."""

    def utc(self) -> float:
        """Unix seconds; for what people and disks see."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def utc(self) -> float:
        """Unix seconds of the machine's wall clock."""
        return time.time()
