"""When a waiting task will start, and whether it will be on time: from measured service times.

Of each model the last `KEPT` service times (start to end) are kept. With `s` slots, `r` tasks
running and `k` waiting in front, the task starts when k + r + 1 - s of those have ended; slots end
at a rate of s / mean. The time to its end is then a sum of about (k + r + 1 - s) / s + 1 service
times, and `on_time_probability` is the normal approximation of that sum's distribution at the
deadline, widened for few measurements.
"""

from __future__ import annotations

import math
from collections import deque

KEPT = 64
PRIOR_S = 5.0
"""Guess of a service time before there is any measurement."""


class Predictor:
    """Service times by model."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def served(self, model: str, seconds: float) -> None:
        """A task of the model took so long from start to end."""
        self._times.setdefault(model, deque(maxlen=KEPT)).append(seconds)

    def mean(self, model: str) -> float:
        """Mean service time in seconds."""
        times = self._times.get(model)
        return sum(times) / len(times) if times else PRIOR_S

    def start_ms(self, model: str, *, ahead: int, slots: int, running: int) -> int:
        """Milliseconds until a task with `ahead` others in front starts."""
        if slots <= 0:
            return round(self.mean(model) * 1000 * (ahead + 1))
        over = ahead + running + 1 - slots
        return 0 if over <= 0 else round(over * self.mean(model) / slots * 1000)

    def on_time(self, model: str, *, start_ms: int, left_s: float) -> float:
        """Probability that a task that starts in `start_ms` ends within `left_s` seconds."""
        times = self._times.get(model)
        mean = self.mean(model)
        count = len(times) if times else 0
        variance = (
            sum((value - mean) ** 2 for value in times) / (count - 1)
            if times and count > 1
            else (0.5 * mean) ** 2
        )
        rounds = start_ms / 1000 / mean if mean > 0 else 0.0
        total = start_ms / 1000 + mean
        spread = math.sqrt(max(1e-9, variance * (1 + rounds)) * (1 + 1 / max(1, count)))
        return 0.5 * (1 + math.erf((left_s - total) / (spread * math.sqrt(2))))
