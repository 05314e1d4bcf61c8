"""What a policy script is shown: tasks, workers and the fleet as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee_agent.queen.placement import ModelIndex, Need, WorkerView, score
from rbee_agent.queen.task import Task


def task_data(task: Task) -> dict[str, Any]:
    """A task as a script sees it: no prompt."""
    request = task.request
    return {
        "id": task.job_id,
        "model": task.model,
        "workload": request.workload,
        "priority": request.priority,
        "session": request.session_id,
        "owner": task.owner,
        "strict": request.strict,
        "max_tokens": request.max_tokens,
        "deadline_ms": request.deadline_ms,
    }


def worker_data(views: Sequence[WorkerView], need: Need) -> list[dict[str, Any]]:
    """Workers as a script sees them, with the built-in score."""
    fastest = max((view.tokens_per_s for view in views), default=0.0)
    return [
        {
            "id": view.id,
            "node": view.node_id,
            "pool": view.pool_id,
            "model": view.model,
            "region": view.region,
            "backend": view.backend,
            "device": view.device,
            "slots": view.slots,
            "busy": view.busy,
            "free": view.slots - view.busy,
            "tokens_per_s": view.tokens_per_s,
            "memory_free": view.memory_free,
            "warm": view.id == need.warm_worker,
            "score": score(view, need, fastest).total,
            "labels": dict(view.labels),
        }
        for view in views
    ]


def fleet_data(index: ModelIndex | None, *, waiting: int, running: int) -> dict[str, Any]:
    """The summary that every hook gets: the workers of the task's model, and the queue."""
    return {
        "workers": 0 if index is None else len(index),
        "slots": 0 if index is None else index.slots,
        "busy": 0 if index is None else index.busy,
        "waiting": waiting,
        "running": running,
    }
