"""When a crashed worker is started again, and when it is left alone. Pure."""

from __future__ import annotations

from collections import deque

FIRST_S, MOST_S = 1.0, 60.0
CRASHES, WINDOW_S = 5, 300.0


class Backoff:
    """The crashes of one worker."""

    def __init__(self) -> None:
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._row = 0

    def crashed(self, now: float) -> float | None:
        """Note a crash at monotonic `now`.

        Returns:
            Seconds to wait before the next start; None: five crashes in five minutes, leave it.
        """
        if self._crashes and now - self._crashes[-1] > WINDOW_S:
            self._row = 0
        self._crashes.append(now)
        if len(self._crashes) == CRASHES and now - self._crashes[0] <= WINDOW_S:
            return None
        wait: float = min(MOST_S, FIRST_S * 2.0**self._row)
        self._row += 1
        return wait
