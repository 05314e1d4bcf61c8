"""When a waiting task will start, and whether it will be on time: from measured service times.

Of each model the last `KEPT` tasks that ended well are remembered: how long to their first token,
how long from there to their end, and what they were asked for. docs/queue-and-placement.md holds
the formulas; `tests/bench/ontime.py` holds them against real runs.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

KEPT = 64
PRIOR_S = 5.0
"""Guess of a service time before there is any measurement."""
PRIOR_SPREAD = 0.5
"""Its standard deviation, as a share of it; also what one measurement alone is taken to have."""


@dataclass(frozen=True, slots=True)
class Served:
    """One task that ended well. Seconds from its placement."""

    first_s: float
    """To the first token."""
    rest_s: float
    """From there to the end."""
    tokens: int = 0
    limit: int | None = None
    """The most tokens that it was allowed."""

    @property
    def seconds(self) -> float:
        """Start to end."""
        return self.first_s + self.rest_s

    def at(self, limit: int | None) -> float:
        """What it would have taken with another limit of tokens, as far as that can be known."""
        if limit is None or self.tokens <= 0:
            return self.seconds
        stopped_itself = self.limit is None or self.tokens < self.limit
        if stopped_itself and limit >= self.tokens:
            return self.seconds
        return self.first_s + self.rest_s * limit / self.tokens


class Predictor:
    """Service times by model."""

    def __init__(self) -> None:
        self._served: dict[str, deque[Served]] = {}

    def served(self, model: str, served: Served) -> None:
        """A task of the model ended well."""
        self._served.setdefault(model, deque(maxlen=KEPT)).append(served)

    def measured(self, model: str) -> bool:
        """Whether anything is known of the model yet."""
        return model in self._served

    def mean(self, model: str) -> float:
        """Mean service time in seconds."""
        kept = self._served.get(model)
        return sum(one.seconds for one in kept) / len(kept) if kept else PRIOR_S

    def start_ms(self, model: str, *, ahead: int, slots: int, running: int) -> int:
        """Milliseconds until a task with `ahead` others in front starts."""
        if slots <= 0:
            return round(self.mean(model) * 1000 * (ahead + 1))
        over = ahead + running + 1 - slots
        return 0 if over <= 0 else round(over * self.mean(model) / slots * 1000)

    def on_time(
        self,
        model: str,
        *,
        left_s: float,
        start_ms: int = 0,
        slots: int = 1,
        limit: int | None = None,
        ran_s: float = 0.0,
    ) -> float:
        """Probability that a task ends within `left_s` seconds.

        Args:
            model: its model.
            left_s: seconds to its deadline.
            start_ms: when it will start (0: it runs, or starts at once).
            slots: of all workers of the model.
            limit: the most tokens that it may make.
            ran_s: seconds since it started; then what was faster than that no longer counts.
        """
        if left_s <= 0:
            return 0.0
        times = [one.at(limit) for one in self._served.get(model, ())] or [PRIOR_S]
        longer = [value for value in times if value > ran_s]
        if not longer:
            # It outlived everything that was measured: as likely to end in any moment as before.
            return 1.0 - math.exp(-left_s / max(1e-9, sum(times) / len(times)))
        mean, deviation = _moments(times)
        rounds = start_ms / 1000 / mean if mean > 0 else 0.0
        # The wait is a sum of `rounds` service times, averaged over the slots that end them;
        # the second term smooths the few measurements (Silverman's rule of thumb).
        wait = deviation * math.sqrt(rounds / max(1, slots))
        smooth = deviation * 1.06 * len(times) ** -0.2
        spread = max(1e-6, math.hypot(wait, smooth))
        left = left_s + ran_s - start_ms / 1000
        return sum(_normal((left - value) / spread) for value in longer) / len(longer)


def _moments(times: list[float]) -> tuple[float, float]:
    """Mean and standard deviation; a few times alone are not trusted to tell the latter."""
    count = len(times)
    mean = sum(times) / count
    variance = sum((value - mean) ** 2 for value in times)
    # As if one measurement more had been off by PRIOR_SPREAD.
    return mean, math.sqrt((variance + (PRIOR_SPREAD * mean) ** 2) / count)


def _normal(value: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))
