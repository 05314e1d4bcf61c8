"""A clock that a test moves by hand."""

from __future__ import annotations


class FakeClock:
    """Stands still until it is told to go on."""

    def __init__(self, utc: float = 1_750_000_000.0) -> None:
        self._utc = utc
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return self._monotonic

    def utc(self) -> float:
        """Unix seconds."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._utc += seconds
        self._monotonic += seconds
