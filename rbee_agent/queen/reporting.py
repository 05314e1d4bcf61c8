"""Once a second, to callers who read: their place in the queue, or how fast it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rbee_agent.contracts.tasks import TaskState
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks

Prep = Callable[[str], list[dict[str, Any]]]
"""What is under way for a model."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Writes ``queued`` and ``metrics`` frames into the streams that somebody reads."""

    _tasks: Tasks
    _prep: Prep

    def report_all(self, now: float) -> None:
        """Every open task that has a reader."""
        for task in list(self._tasks.queue.open.values()):
            if not task.stream.readers:
                continue
            if task.state is TaskState.QUEUED:
                self._waits(task, now)
            else:
                self._runs(task, now)

    def _waits(self, task: Task, now: float) -> None:
        """Its place where that changed, and how far its model is."""
        position = self._tasks.queue.position(task) or 0
        if (position, task.waiting_for) != task.told:
            task.predicted_start_ms = self._tasks.forecast.start_ms(task)
            self._tasks.say_queued(task)
        steps = self._prep(task.model)
        if steps or task.deadline is not None:
            frame: dict[str, Any] = {}
            if steps:
                frame["prep"] = {"steps": steps}
            self._write(task, now, frame)

    def _runs(self, task: Task, now: float) -> None:
        tokens = task.stream.last_index + 1
        made, task.reported = tokens - task.reported, tokens
        speed = made / max(0.001, now - task.reported_at)
        task.reported_at = now
        frame: dict[str, Any] = {"tokens_per_s": round(speed, 1)}
        limit = self._tasks.sessions.token_limit(task)
        if limit is not None:
            frame["tokens_budget_remaining"] = max(0, limit - tokens)
        if task.request.session_id is not None:
            warm = self._tasks.sessions.worker_of(task) == task.worker_id
            frame["kv_warmth"] = 1.0 if warm else 0.0
        self._write(task, now, frame)

    def _write(self, task: Task, now: float, frame: dict[str, Any]) -> None:
        frame = {"type": "metrics", "queue_depth": self._tasks.queue.depth, **frame}
        if task.deadline is not None:
            frame["time_budget_remaining_ms"] = max(0, round((task.deadline - now) * 1000))
            task.on_time_probability = self._tasks.forecast.on_time(task, now)
            if task.on_time_probability is not None:
                frame["on_time_probability"] = task.on_time_probability
        task.stream.aside("metrics", json.dumps(frame, separators=(",", ":")))
