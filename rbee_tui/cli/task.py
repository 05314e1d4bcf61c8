"""``rbee task`` and ``rbee session``: work that was handed in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Watch
from rbee_tui.cli.output import emit, emit_json, fields, note, table
from rbee_tui.state.clean import clean
from rbee_tui.state.units import millis

app = group("Tasks: what was handed in, what became of it, and why.")
session_app = group("Sessions: turns that belong together.")

JobId = Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")]


@command(app, "ls")
def ls(
    ctx: typer.Context,
    state: Annotated[
        str | None, typer.Option(help="queued, running, done, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    json: Json = False,
    watch: Watch = False,
) -> None:
    """Tasks, newest first.

    $ rbee task ls
    $ rbee task ls --state running --json
    """
    session = sessions.of(ctx)
    if watch:
        from rbee_tui.cli.watch import watch_fleet

        def select(document: dict[str, Any]) -> dict[str, Any]:
            tasks = [t for t in document["tasks"] if state in (None, t["state"])]
            tasks.sort(key=lambda t: -float(t["created_at"]))
            return {"tasks": tasks[:limit]}

        sessions.run(watch_fleet(session, select, _tasks_text, json))
        return
    sessions.run(_ls(session, state, limit, as_json=json))


async def _ls(session: sessions.Session, state: str | None, limit: int, *, as_json: bool) -> None:
    from rbee_agent.client.calls import items

    async with session.queen() as queen:
        body = await queen.raw("GET", "/v2/tasks", params={"state": state, "limit": limit})
    document = {"tasks": items(body, "tasks")}
    emit_json(document) if as_json else emit(_tasks_text(document))


def _tasks_text(document: dict[str, Any]) -> str:
    if not document["tasks"]:
        return "no tasks"
    return table(
        ("ID", "STATE", "MODEL", "WORKER", "TOKENS", "TOTAL"),
        (
            (
                task.get("job_id"),
                _outcome(task),
                task.get("model"),
                task.get("worker_id"),
                (task.get("timings") or {}).get("tokens_out", 0),
                millis((task.get("timings") or {}).get("total_ms")),
            )
            for task in document["tasks"]
        ),
    )


def _outcome(task: dict[str, Any]) -> str:
    state = str(task.get("state"))
    why = task.get("finish_reason") or (task.get("error") or {}).get("code")
    return f"{state} ({why})" if why and why != "stop" else state


@command(app, "show")
def show(ctx: typer.Context, job_id: JobId, json: Json = False) -> None:
    """One task's state and timings.

    $ rbee task show TASK
    """
    sessions.run(_show(sessions.of(ctx), job_id, as_json=json))


async def _show(session: sessions.Session, job_id: str, *, as_json: bool) -> None:
    async with session.queen() as queen:
        task = await queen.task(job_id)
    if as_json:
        emit_json(task)
        return
    t = task.timings
    emit(
        fields(
            [
                ("id", task.job_id),
                ("state", task.state.value),
                ("model", task.model),
                ("worker", task.worker_id),
                ("waits for", task.waiting_for),
                ("finish reason", task.finish_reason),
                ("error", task.error and f"{task.error.get('code')}: {task.error.get('message')}"),
                ("tokens", f"{t.tokens_in} in ({t.tokens_cached} cached), {t.tokens_out} out"),
                ("queued", millis(t.queue_ms)),
                ("first token", millis(t.first_token_ms)),
                ("decode", millis(t.decode_time_ms)),
                ("total", millis(t.total_ms)),
                ("moved", t.resumed or None),
            ]
        )
    )


@command(app, "events")
def events(
    ctx: typer.Context,
    job_id: JobId,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Go on behind this event id.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Narration too.")] = False,
) -> None:
    """A task's frames as they come, one JSON object a line; also after its end.

    $ rbee task events TASK
    """
    sessions.run(_events(sessions.of(ctx), job_id, after, verbose))


async def _events(session: sessions.Session, job_id: str, after: str | None, verbose: bool) -> None:
    from contextlib import aclosing

    async with (
        session.queen() as queen,
        aclosing(queen.task_events(job_id, after, verbose=verbose)) as frames,
    ):
        async for event in frames:
            emit(event.data)


@command(app, "cancel")
def cancel(ctx: typer.Context, job_id: JobId) -> None:
    """Cancel a task; harmless when it has ended.

    $ rbee task cancel TASK
    """
    sessions.run(_cancel(sessions.of(ctx), job_id))


async def _cancel(session: sessions.Session, job_id: str) -> None:
    async with session.queen() as queen:
        await queen.cancel(job_id)
    note(f"cancelled {job_id}")


@command(app, "explain")
def explain(ctx: typer.Context, job_id: JobId, json: Json = False) -> None:
    """Why a task ran where it ran, or why it waits: every candidate with its score.

    $ rbee task explain TASK
    """
    sessions.run(_explain(sessions.of(ctx), job_id, as_json=json))


async def _explain(session: sessions.Session, job_id: str, *, as_json: bool) -> None:
    async with session.queen() as queen:
        told = await queen.explain(job_id)
    if as_json:
        emit_json(told.dump())
        return
    emit(clean(told.text, lines=True))


SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]


@command(session_app, "show")
def session_show(ctx: typer.Context, session_id: SessionId, json: Json = False) -> None:
    """A session's turns, time left, warmth and budgets.

    $ rbee session show SESSION
    """
    sessions.run(_session_show(sessions.of(ctx), session_id, as_json=json))


async def _session_show(session: sessions.Session, session_id: str, *, as_json: bool) -> None:
    async with session.queen() as queen:
        body = (await queen.session(session_id)).dump()
    emit_json(body) if as_json else emit(fields(body.items()))


@command(session_app, "rm")
def session_rm(ctx: typer.Context, session_id: SessionId) -> None:
    """Forget a session at once.

    $ rbee session rm SESSION
    """
    sessions.run(_session_rm(sessions.of(ctx), session_id))


async def _session_rm(session: sessions.Session, session_id: str) -> None:
    async with session.queen() as queen:
        await queen.end_session(session_id)
    note(f"forgot {session_id}")
