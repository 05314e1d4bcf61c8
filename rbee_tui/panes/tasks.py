"""Tasks: what waits, what runs, what came of it."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.panes.status import TASK, status
from rbee_tui.state.units import millis, percent, span
from rbee_tui.state.view import View
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import Cell

COLUMNS: Final = (
    Column("state", "STATE", 11),
    Column("task", "TASK", 17),
    Column("model", "MODEL", 12, grow=1),
    Column("worker", "WORKER", 12, grow=1, drop=6),
    Column("place", "PLACE", 5, right=True, drop=5),
    Column("waited", "WAITED", 6, right=True, drop=8),
    Column("first", "TTFT", 6, right=True, drop=7),
    Column("tokens", "TOKENS", 9, right=True, drop=2),
    Column("age", "AGE", 6, right=True, drop=3),
    Column("left", "DEADLINE", 8, right=True, drop=9),
    Column("news", "NEWS", 16, grow=6, drop=4),
)

_ORDER: Final = {TaskState.QUEUED: 1, TaskState.RUNNING: 0}


def rows(view: View) -> Rows:
    """Running tasks first, then the queue by place, then the ended ones, newest first."""
    tasks = sorted(
        view.fleet.tasks.values(),
        key=lambda t: (
            _ORDER.get(t.state, 2),
            t.queue_position or 0,
            -(t.ended_at or t.created_at),
            t.job_id,
        ),
    )
    return Rows([task.job_id for task in tasks], lambda at: _row(view, tasks[at]))


def _row(view: View, task: TaskInfo) -> Row:
    state = status(TASK, task.state)
    stream = view.streams.by_job.get(task.job_id)
    tokens = max(task.timings.tokens_out, stream.tokens_out if stream else 0)
    age = view.queen_now - task.created_at
    left = None
    if task.deadline_ms is not None and not task.state.final:
        left = task.deadline_ms / 1000 - age
    place = task.queue_position if task.state is TaskState.QUEUED else None
    waited = task.timings.queue_ms
    if waited is None and task.state is TaskState.QUEUED:
        waited = int(age * 1000)
    cells: tuple[Cell, ...] = (
        state.pieces,
        task.job_id,
        task.model,
        task.worker_id or "",
        "" if place is None else str(place),
        millis(waited),
        millis(task.timings.first_token_ms),
        _spent(task, tokens),
        span(age),
        "" if left is None else ((span(left), "bad" if left < 5 else ""),),
        news(task),
    )
    values = (
        str(_ORDER.get(task.state, 2)) + task.state,
        task.job_id,
        task.model,
        task.worker_id,
        place,
        waited,
        task.timings.first_token_ms,
        float(tokens),
        age,
        left,
        None,
    )
    return Row(task.job_id, cells, dim=not view.link.live, about=("task", task.job_id),
               values=values)  # fmt: skip


def most_tokens(task: TaskInfo) -> int | None:
    """Tokens that it may make at most, by what it asked for and by its budget."""
    limits = [task.max_tokens, task.budget.tokens if task.budget else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _spent(task: TaskInfo, tokens: int) -> Cell:
    most = most_tokens(task)
    if most is None or task.state.final:
        return str(tokens) if tokens else ""
    return ((str(tokens), ""), (f"/{most}", "muted"))


def _budget(task: TaskInfo) -> str:
    most = most_tokens(task)
    parts = [f"{most} tokens" if most is not None else "as many tokens as fit"]
    if task.budget is not None and task.budget.time_ms is not None:
        parts.append(f"{millis(task.budget.time_ms)} of decoding")
    return ", ".join(parts)


def news(task: TaskInfo) -> Cell:
    """Why it waits, or how it ended."""
    if task.state is TaskState.CANCELLED:
        return ""
    if task.error:
        return ((f"{task.error.get('code', '')}: {task.error.get('message', '')}", "bad"),)
    if task.state is TaskState.QUEUED:
        start = f", starts in about {millis(task.predicted_start_ms)}"
        known = start if task.predicted_start_ms is not None else ""
        return ((f"waits for {task.waiting_for or 'its turn'}{known}", "warn"),)
    resumed = f"moved {task.timings.resumed} times" if task.timings.resumed else ""
    return ", ".join(part for part in (task.finish_reason, resumed) if part)


def facts(view: View, job_id: str) -> list[Fact]:
    """Everything known of one task; a prompt is never among it."""
    task = view.fleet.tasks.get(job_id)
    if task is None:
        return []
    timings = task.timings
    told: list[Fact] = [
        ("task", task.job_id),
        ("state", status(TASK, task.state).pieces),
        ("model", task.model),
        ("workload", f"{task.workload}, {task.priority}{', strict' if task.strict else ''}"),
        ("worker", task.worker_id or "–"),
        ("host", task.node_id or "–"),
        ("session", task.session_id or "–"),
        ("created", view.clock(task.created_at - view.fleet.offset)),
        ("waited", millis(timings.queue_ms)),
        ("first token", millis(timings.first_token_ms)),
        ("decoding", millis(timings.decode_time_ms)),
        ("in all", millis(timings.total_ms)),
        ("tokens", f"{timings.tokens_in} in, {timings.tokens_out} out"),
        ("at most", _budget(task)),
        ("cached", f"{timings.tokens_cached} of the tokens read"),
        ("moved", f"{timings.resumed} times"),
    ]
    if told_news := news(task):
        told.insert(2, ("news", told_news))
    if task.deadline_ms is not None:
        told.append(("deadline", f"{millis(task.deadline_ms)} after it was accepted"))
    if task.on_time_probability is not None:
        told.append(("on time", percent(task.on_time_probability)))
    return told


PANE: Final = NounPane(
    noun="task",
    title="tasks",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="no task yet: p sends a prompt",
)
