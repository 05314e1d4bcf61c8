"""What the predictor says of one task: its start, and its chance to be on time."""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.contracts.tasks import TaskState
from rbee_agent.queen.prediction import Predictor, Served
from rbee_agent.queen.queue import TaskQueue
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.sessions import Sessions
from rbee_agent.queen.task import Task


@dataclass(frozen=True, slots=True)
class Forecast:
    """Puts queue, fleet and measurements before the predictor."""

    predictor: Predictor
    _queue: TaskQueue
    _registry: Registry
    _sessions: Sessions

    def start_ms(self, task: Task) -> int | None:
        """Milliseconds until a task starts; None where no worker of its model is usable."""
        slots, running = self._slots(task.model)
        if not slots:
            return None
        place = self._queue.position(task)
        ahead = self._queue.ahead_of_new(task) if place is None else place
        return self.predictor.start_ms(task.model, ahead=ahead, slots=slots, running=running)

    def on_time(self, task: Task, now: float) -> float | None:
        """Probability that a task ends before its deadline, as it stands now; None without one."""
        if task.deadline is None:
            return None
        slots, _ = self._slots(task.model)
        start = ran = 0.0
        if task.placed is not None and task.state is TaskState.RUNNING:
            ran = now - task.placed
        elif (waits := self.start_ms(task)) is None:
            return None
        else:
            start = waits
        chance = self.predictor.on_time(
            task.model,
            left_s=task.deadline - now,
            start_ms=round(start),
            slots=slots,
            limit=self._sessions.token_limit(task),
            ran_s=ran,
        )
        return round(chance, 3)

    def place_s(self, model: str) -> float:
        """Seconds in which one place of the queue comes free, where all slots of a model work."""
        slots, _ = self._slots(model)
        return self.predictor.mean(model) / max(1, slots)

    def ended(self, task: Task, now: float) -> None:
        """Learn from a task that ended well, or that its deadline cut off."""
        if task.placed is None:
            return
        tokens = task.stream.last_index + 1
        cut = task.error is not None and task.error.code == "DEADLINE_EXCEEDED" and tokens > 0
        if task.state is not TaskState.DONE and not cut:
            return
        first = now if task.first_token is None else task.first_token
        # What was cut off counts as one that used up its limit: left out, it would flatter.
        limit = tokens if cut else self._sessions.token_limit(task)
        self.predictor.served(
            task.model, Served(max(0.0, first - task.placed), now - first, tokens, limit)
        )

    def _slots(self, model: str) -> tuple[int, int]:
        """Slots of the usable workers of a model, and how many of them work."""
        index = self._registry.index(model)
        return (0, 0) if index is None else (index.slots, index.busy)
