"""When Python looks for garbage: while nobody types.

With a large fleet one full look takes longer than a key may take to be answered, and telemetry
makes so many objects that Python would look every few seconds. Nearly all of them go by their
reference count; what is left are the cycles of closed dialogs and ended tasks, which can wait.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

QUIET_S: Final = 2.0
"""So long nobody typed."""
EVERY_S: Final = 20.0
LATEST_S: Final = 120.0
"""Somebody who types without a pause does not keep garbage for ever."""


class Garbage:
    """Takes Python's collector over until `give_back`."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Nothing is taken over yet.

        Args:
            now: monotonic seconds.
        """
        self._now = now
        self._typed_at = self._looked_at = now()
        self._taken = self._settled = False

    def take_over(self) -> None:
        """From now on only `tick` looks; what was imported is never looked at again."""
        gc.disable()
        gc.freeze()
        self._taken = True

    def give_back(self) -> None:
        """Python looks when it likes."""
        if self._taken:
            self._taken = False
            gc.unfreeze()
            gc.enable()

    def typed(self) -> None:
        """A key came."""
        self._typed_at = self._now()

    def tick(self) -> bool:
        """Look, if it is time to; says whether it did."""
        now = self._now()
        quiet, since = now - self._typed_at, now - self._looked_at
        due = since >= EVERY_S and (quiet >= QUIET_S or since >= LATEST_S)
        if not (due and self._taken):
            return False
        self._looked_at = now
        gc.collect()
        if not self._settled:  # the app and the fleet are there, and most of that stays
            self._settled = True
            gc.freeze()
        return True
