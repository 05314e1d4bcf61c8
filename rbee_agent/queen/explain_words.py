"""An explanation for a person who knows nothing of the code: what, why, what about the others."""

from __future__ import annotations

from typing import Any

PARTS = {
    "load": "how many of its slots work",
    "speed": "how much slower it is than the fastest",
    "warm": "the session's prefix is in its cache",
    "memory": "how full its device is",
    "preferred": "the task asked for it",
}
"""The parts of a score in words."""

_ADVICE = {
    "slots": "It starts when a slot comes free. `rbee worker spawn` adds a worker.",
    "pin": "The task is pinned: it waits for that worker alone. To let it run elsewhere, cancel it "
    "and hand it in with placement.allow_fallback.",
    "node": "It starts when the host is back; `rbee hive ls` shows its state.",
    "state": "It starts when the worker is ready; `rbee worker ls` shows how far it is.",
    "trouble": "The worker broke a stream a moment ago; it is trusted again within seconds.",
    "profile": "The task is strict: only a worker that computes in exactly the same way may go on "
    "with it. Without determinism strict it could go on elsewhere.",
    "fingerprint": "Only a worker with the very same model file may go on with the stream.",
    "region": "No worker is in the region that the task asks for.",
    "device": "No worker computes on the device that the task asks for.",
    "avoid_pools": "The task avoids the pools that could have taken it.",
}
"""What follows from the filter that keeps a task waiting."""


def explain_text(data: dict[str, Any]) -> str:
    """The sentences for what `explain_task` (or a refusal) tells."""
    task: dict[str, Any] = data["task"]
    decision: dict[str, Any] | None = data.get("decision")
    told = {
        "queued": _waits,
        "running": _runs,
        "done": _done,
        "refused": _refused,
    }.get(task["state"], _failed)
    lines = told(data, task, decision)
    lines += [
        f"It left worker {move['worker_id']}: {move['reason']}." for move in data.get("moves", ())
    ]
    if decision is not None and decision["candidates"]:
        lines += ["", *_workers(decision)]
    return "\n".join(lines)


def _waits(
    data: dict[str, Any], task: dict[str, Any], decision: dict[str, Any] | None
) -> list[str]:
    waited = _seconds(data.get("waited_ms", 0))
    lines = [f"{task['job_id']} has waited {waited} for a worker of {task['model']}."]
    place = task.get("queue_position") or 0
    if place:
        lines.append(f"In front of it: {_tasks(place)}.")
    why = (decision or {}).get("reason") if decision and not place else None
    steps = data.get("preparation") or []
    if steps:
        lines.append(f"What is done about it: {'; '.join(step['text'] for step in steps)}.")
    elif why or task.get("waiting_for"):
        lines.append(f"Why it does not run yet: {why or task['waiting_for']}.")
    filters = {row.get("filter") for row in (decision or {}).get("candidates", ())}
    if len(filters) == 1 and (advice := _ADVICE.get(str(filters.pop()))):
        lines.append(advice)
    start = data.get("starts_in_ms")
    if start:
        known = data["service_measured"]
        basis = "tasks of this model took" if known else "nothing is measured yet, the guess is"
        lines.append(
            f"It should start in about {_seconds(start)} ({basis} {_seconds(data['service_ms'])} "
            "each)."
        )
    if data.get("on_time_probability") is not None:
        lines.append(
            f"Its deadline is in {_seconds(data['deadline_in_ms'])}; the chance to end before that "
            f"is {data['on_time_probability']:.0%}."
        )
    for wish in data.get("deployments", ()):
        if wish.get("problem"):
            lines.append(f"A worker was asked for, but: {wish['problem']}.")
        elif not wish.get("worker_ids") and not steps:
            lines.append("A worker for this model is being started.")
    return lines


def _runs(_: dict[str, Any], task: dict[str, Any], decision: dict[str, Any] | None) -> list[str]:
    return [
        f"{task['job_id']} runs {task['model']} on worker {task.get('worker_id')}.",
        *_choice(decision),
        *_times(task),
    ]


def _done(_: dict[str, Any], task: dict[str, Any], decision: dict[str, Any] | None) -> list[str]:
    ends = {
        "length": "it made as many tokens as it was allowed",
        "stop": "the model was done, or a stop text came",
        "tool_calls": "the model called a tool",
    }
    why = ends.get(str(task.get("finish_reason")), str(task.get("finish_reason")))
    where = f"{task['model']} on worker {task.get('worker_id')}"
    return [
        f"{task['job_id']} ran {where} and ended well: {why}.",
        *_choice(decision),
        *_times(task),
    ]


def _failed(_: dict[str, Any], task: dict[str, Any], decision: dict[str, Any] | None) -> list[str]:
    error = task.get("error") or {}
    verb = "was cancelled" if task["state"] == "cancelled" else "failed"
    message = str(error.get("message", "no reason was kept")).removeprefix("cancelled: ")
    code = "" if task["state"] == "cancelled" else f" ({error.get('code', 'INTERNAL')})"
    lines = [f"{task['job_id']} ({task['model']}) {verb}: {message}{code}."]
    if task.get("worker_id") is None:
        lines.append("It had no worker at that moment.")
        if decision is not None and decision["worker_id"] is None:
            lines.append(f"The last look for one: {decision['reason']}.")
    else:
        lines += _choice(decision)
    return lines + _times(task) + _again(error)


def _refused(
    data: dict[str, Any], task: dict[str, Any], decision: dict[str, Any] | None
) -> list[str]:
    error, queue = task["error"], data["queue"]
    why = f"{error['message']} ({error['code']})"
    lines = [
        f"{task['job_id']} ({task['model']}) was refused and never waited: {why}.",
        f"At that moment {_tasks(queue['waiting'])} waited and {_tasks(queue['running'])} ran.",
    ]
    if decision is not None and not decision["candidates"]:
        lines.append(f"Workers: {decision['reason']}.")
    return lines + _again(error)


def _again(error: dict[str, Any]) -> list[str]:
    if not error.get("retriable"):
        return []
    wait = error.get("retry_after_ms")
    return [f"The same request may succeed later{f', in {_seconds(wait)}' if wait else ''}."]


def _choice(decision: dict[str, Any] | None) -> list[str]:
    if decision is None or decision["worker_id"] is None:
        return []
    policy = f" The policy script: {decision['policy']}." if decision.get("policy") else ""
    return [
        f"Why that worker: {decision['reason']} (strategy {decision['strategy']}).{policy}",
    ]


def _times(task: dict[str, Any]) -> list[str]:
    times = task.get("timings") or {}
    told = [
        f"{what} {_seconds(times[name])}"
        for name, what in (
            ("queue_ms", "waited"),
            ("first_token_ms", "first token after"),
            ("total_ms", "ended after"),
        )
        if times.get(name) is not None
    ]
    made = times.get("tokens_out", 0)
    if made:
        told.append(f"{times.get('tokens_in', 0)} tokens read, {made} made")
    return [f"{'; '.join(told).capitalize()}."] if told else []


def _workers(decision: dict[str, Any]) -> list[str]:
    rows, total = decision["candidates"], decision["workers_of_the_model"]
    count = f"all {total}" if len(rows) == total else f"{len(rows)} of {total}"
    lines = [f"Workers of the model that were looked at ({count}):"]
    wide = max(len(row["worker_id"]) for row in rows)
    host = max(len(row["node_id"]) for row in rows)
    for row in rows:
        lines.append(f"  {row['worker_id']:{wide}}  {row['node_id']:{host}}  {_verdict(row)}")
    parts = {name for row in rows for name in row.get("parts", {})}
    if any("score" in row for row in rows):
        told = "; ".join(f"{name}: {text}" for name, text in PARTS.items() if name in parts)
        lines.append(f"The lowest score wins, then the lower id.{f' {told}.' if told else ''}")
    return lines


def _verdict(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"no: {row['reason']}"
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in row.get("parts", {}).items())
    chosen = "chosen" if row["chosen"] else "could have taken it"
    return f"{chosen}: score {row['score']:.2f}{f' = {parts}' if parts else ''}"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _seconds(milliseconds: float) -> str:
    """A duration as a person says it."""
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
