"""Why a task runs, ran or waits: as data, and as plain sentences for a person."""

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
    wishes = [w.dump() for w in queen.deployments.wishes.values() if w.model == info.model]
    if info.state is TaskState.QUEUED:
        data["deployments"] = wishes
    return data


def explain_text(data: dict[str, Any]) -> str:
    """The same for a person: what happened, why, and what about the others."""
    task: dict[str, Any] = data["task"]
    decision: dict[str, Any] | None = data["decision"]
    lines = [_headline(task)]
    if decision is not None:
        lines += _decision_lines(decision, task)
    for wish in data.get("deployments", ()):
        if wish.get("problem"):
            lines.append(f"A worker was asked for, but: {wish['problem']}.")
        elif not wish.get("worker_ids"):
            lines.append("A worker for this model is being started.")
    resumed = task.get("timings", {}).get("resumed", 0)
    if resumed:
        times = "once" if resumed == 1 else f"{resumed} times"
        lines.append(f"Its stream was moved {times}, because its worker (or the queen) stopped.")
    return "\n".join(lines)


def _headline(task: dict[str, Any]) -> str:
    name, model, state = task["job_id"], task["model"], task["state"]
    if state == "queued":
        place = task.get("queue_position")
        ahead = "nobody is" if not place else f"{place} tasks are"
        why = task.get("waiting_for")
        return f"{name} waits for {model}; {ahead} in front of it." + (
            f" Reason: {why}." if why else ""
        )
    if state == "running":
        return f"{name} runs {model} on worker {task.get('worker_id')}."
    if state == "done":
        timings = task.get("timings", {})
        return (
            f"{name} ran {model} on worker {task.get('worker_id')} and ended well "
            f"({timings.get('tokens_out', 0)} tokens, finish reason {task.get('finish_reason')})."
        )
    error = task.get("error") or {}
    verb = "was cancelled" if state == "cancelled" else "failed"
    return f"{name} ({model}) {verb}: {error.get('message', 'no reason was kept')}."


def _decision_lines(decision: dict[str, Any], task: dict[str, Any]) -> list[str]:
    total = decision["workers_of_the_model"]
    lines = []
    if decision["worker_id"] is not None:
        lines.append(
            f"Worker {decision['worker_id']} was chosen by the strategy {decision['strategy']}: "
            f"{decision['reason']}."
        )
    elif task["state"] == "queued":
        lines.append(f"No worker can take it now: {decision['reason']}.")
    if total == 0:
        return lines
    lines.append(f"Workers of the model looked at ({len(decision['candidates'])} of {total}):")
    for row in decision["candidates"]:
        lines.append(f"  {row['worker_id']} on {row['node_id']}: {_verdict(row)}")
    return lines


def _verdict(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"not taken, {row['reason']} (filter {row['filter']})"
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in row.get("parts", {}).items())
    chosen = "chosen" if row["chosen"] else "could have taken it"
    return f"{chosen}, score {row['score']:.2f} (lower is better{': ' + parts if parts else ''})"
