"""What each worker's tasks cost lately: from the tasks that are known here, one pass for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rbee_agent.contracts.tasks import TaskInfo


@dataclass(slots=True)
class Served:
    """Sums over the tasks of one worker that have begun to answer."""

    tasks: int = 0
    first_token_ms: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0

    @property
    def mean_first_token_ms(self) -> int | None:
        """From acceptance to the first token, on average; None before there was one."""
        return self.first_token_ms // self.tasks if self.tasks else None

    @property
    def cached_share(self) -> float | None:
        """Tokens read that were in the cache already, 0 to 1; None before any were read."""
        return self.tokens_cached / self.tokens_in if self.tokens_in else None


def served(tasks: Iterable[TaskInfo]) -> dict[str, Served]:
    """The workers that answered, each with its sums."""
    found: dict[str, Served] = {}
    for task in tasks:
        timings = task.timings
        if task.worker_id is None or timings.first_token_ms is None:
            continue
        one = found.setdefault(task.worker_id, Served())
        one.tasks += 1
        one.first_token_ms += timings.first_token_ms
        one.tokens_in += timings.tokens_in
        one.tokens_cached += timings.tokens_cached
    return found
