"""Why a task runs, ran, waits or was refused, as data; `explain_words` says it to a person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_agent.queen.placement import as_data, decide
from rbee_agent.queen.task import Task
from rbee_agent.store.base import TaskRecord

if TYPE_CHECKING:
    from rbee_agent.queen.service import Queen


def explain_task(
    queen: Queen, info: TaskInfo, task: Task | None, record: TaskRecord | None
) -> dict[str, Any]:
    """The facts behind a task's fate."""
    decision: dict[str, Any] | None = None
    if task is not None and task.state is TaskState.QUEUED:
        # What waits is judged anew: the reader wants to know why it waits now.
        fresh = decide(
            queen.registry.index(task.model),
            queen.dispatcher.need(task),
            strategy=queen.dispatcher.strategy,
        )
        decision = as_data(fresh)
    elif task is not None and task.decision is not None:
        decision = as_data(task.decision)
    elif record is not None and record.decision is not None:
        decision = json.loads(record.decision)
    data: dict[str, Any] = {"task": info.dump(), "decision": decision}
    data["moves"] = task.moves if task is not None else (decision or {}).pop("moves", [])
    if info.state is TaskState.QUEUED and task is not None:
        now = queen.clock.monotonic()
        data["waited_ms"] = round((now - task.accepted) * 1000)
        data["starts_in_ms"] = queen.tasks.forecast.start_ms(task)
        predictor = queen.tasks.forecast.predictor
        data["service_ms"] = round(predictor.mean(info.model) * 1000)
        data["service_measured"] = predictor.measured(info.model)
        if task.deadline is not None:
            data["deadline_in_ms"] = max(0, round((task.deadline - now) * 1000))
            data["on_time_probability"] = queen.tasks.forecast.on_time(task, now)
        data["preparation"] = queen.deployments.steps(info.model)
        data["deployments"] = [
            wish.dump() for wish in queen.deployments.wishes.of_model(info.model)
        ]
    return data
