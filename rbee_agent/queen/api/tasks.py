"""Routes of the data plane: tasks and sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from rbee_agent.contracts.explain import Explanation
from rbee_agent.contracts.routes import SSE_CONTENT_TYPE
from rbee_agent.contracts.sessions import SessionInfo
from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest, TaskState
from rbee_agent.errors import InvalidParams, Refused, Unavailable
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.http.sse import SseWriter
from rbee_agent.queen.admission import events_path
from rbee_agent.queen.api.routes import READ, SUBMIT, Route, queen_of, who_of
from rbee_agent.queen.explain import explain_task
from rbee_agent.queen.explain_words import explain_text
from rbee_agent.queen.service import Queen
from rbee_agent.queen.stream import LAST_ID, ClientFrame, rebuilt
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import no_task
from rbee_agent.store.base import TaskRecord
from rbee_agent.store.journal import unpack

MAX_BODY = 16 * 1024 * 1024
MAX_LIST = 1000
SAMPLE = 8
"""One write in so many is measured for router_overhead_seconds."""
LAG_S = 0.05
"""A write that took so long says that the reader lags: frames are merged from then on."""


async def submit(request: web.Request) -> web.StreamResponse:
    """Take a task in: 202 when it is durable, 200 when it was there already.

    A caller that accepts event streams gets the task's frames in the same answer (200).
    """
    body = TaskRequest.model_validate(await read_json_object(request, max_bytes=MAX_BODY))
    queen, who = queen_of(request), who_of(request)
    if SSE_CONTENT_TYPE in request.headers.get("Accept", ""):
        accepted = await queen.enter(body, who)
        return await _follow(request, accepted.job_id, accepted=accepted)
    _, accepted, fresh = await queen.admission.submit(body, who)
    return web.Response(
        text=accepted.dump_json(), status=202 if fresh else 200, content_type="application/json"
    )


async def show(request: web.Request) -> web.Response:
    """One task's state and timings."""
    info = await queen_of(request).find_info(request.match_info["id"], who_of(request))
    return json_response(info.dump())


async def listing(request: web.Request) -> web.Response:
    """Tasks, newest first, filtered and paged."""
    queen, who = queen_of(request), who_of(request)
    query = request.query
    limit = _number(query.get("limit"), "limit", 100, 1, MAX_LIST)
    state = query.get("state")
    if state is not None and state not in list(TaskState):
        raise _bad("state", "one of " + ", ".join(TaskState))
    before = query.get("before")
    wanted: dict[str, Any] = {
        "model": query.get("model"),
        "owner": None if who.admin else who.id,
        "session_id": query.get("session_id"),
        "before": None if before is None else _number(before, "before", 0, 0, 1e12),
    }
    if state in (TaskState.QUEUED, TaskState.RUNNING):
        # Open tasks are all in memory; the store learns how they end.
        open_tasks = queen.tasks.matching(limit=int(limit), state=state, **wanted)
        return json_response({"tasks": [queen.tasks.info(task).dump() for task in open_tasks]})
    infos = await queen.store.task_infos(limit=int(limit), state=state, **wanted)
    shown = []
    for text in infos:
        info: dict[str, Any] = json.loads(text)
        live = queen.tasks.find(info["job_id"])
        shown.append(queen.tasks.info(live).dump() if live is not None else info)
    return json_response({"tasks": shown})


async def events(request: web.Request) -> web.StreamResponse:
    """A task's frames as SSE, to its end."""
    return await _follow(request, request.match_info["id"])


async def _follow(
    request: web.Request, job_id: str, *, accepted: Accepted | None = None
) -> web.StreamResponse:
    """A task's frames as SSE, to its end; `accepted` first, where the same request handed it in."""
    queen, who = queen_of(request), who_of(request)
    after = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    verbose = request.query.get("verbose", "").lower() in ("1", "true", "yes")
    task = queen.tasks.find(job_id)
    if task is not None:
        if not who.may_read(task.owner):
            raise no_task(job_id)
        batches = queen.frames(task, after=after, verbose=verbose)
    else:
        record = await queen.store.task(job_id)
        if record is None or not who.may_read(record.owner):
            raise no_task(job_id)
        if record.ended_at is None:
            raise Unavailable("the task is just being accepted; try again", retry_after_ms=100)
        batches = stored_frames(record, after=after)
    if after == LAST_ID and (task is None or task.state.final):
        # This reader has everything: 204 tells an EventSource not to come back.
        await batches.aclose()
        return web.Response(status=204)
    headers = {"Content-Location": events_path(job_id)}
    async with aclosing(batches), SseWriter(request, headers=headers) as writer:
        if accepted is not None:
            await writer.send(accepted_frame(accepted), event="accepted")
        await _write_frames(writer, batches, queen, task)
    return writer.response


async def _write_frames(
    writer: SseWriter,
    batches: AsyncGenerator[list[ClientFrame], bool | None],
    queen: Queen,
    task: Task | None,
) -> None:
    """Write each batch in one go; a reader that makes us wait gets merged frames."""
    loop = asyncio.get_running_loop()
    lags, written = False, 0
    try:
        batch = await batches.asend(None)
        while True:
            before = loop.time()
            await writer.write(sse_bytes(batch))
            now = loop.time()
            lags = now - before > LAG_S
            written += 1
            if written % SAMPLE == 0 and task is not None and batch[-1].event == "token":
                overhead = queen.clock.monotonic() - task.stream.arrived
                queen.metrics.overhead_seconds.observe(overhead)
            batch = await batches.asend(lags)
    except StopAsyncIteration:
        return


def accepted_frame(accepted: Accepted) -> str:
    """What the 202 says, as a stream's first frame."""
    return '{"type":"accepted",' + accepted.dump_json()[1:]


def sse_bytes(batch: list[ClientFrame]) -> bytes:
    """Frames as they go over the wire. Their texts are JSON, so no line break is in them."""
    return "".join(
        [
            f"id: {frame.id}\nevent: {frame.event}\ndata: {frame.data}\n\n"
            if frame.id is not None
            else f"event: {frame.event}\ndata: {frame.data}\n\n"
            for frame in batch
        ]
    ).encode()


async def stored_frames(
    record: TaskRecord, *, after: str | None
) -> AsyncGenerator[list[ClientFrame], bool | None]:
    """The frames of a task that ended long ago."""
    lines = unpack(record.frames)
    info = TaskInfo.read_json(record.info)
    started = None
    if info.started_at is not None:
        worker_id = info.worker_id or ""
        started = json.dumps(
            {
                "type": "started",
                "job_id": record.job_id,
                "worker_id": worker_id,
                "model": info.model,
                "queue_position": 0,
                "predicted_start_ms": 0,
            },
            separators=(",", ":"),
        )
    stream = rebuilt(lines, started=started)
    async with aclosing(stream.read(after=after)) as batches:
        async for batch in batches:
            yield batch


async def cancel(request: web.Request) -> web.Response:
    """Cancel a task; 204 also when it has ended."""
    queen, who = queen_of(request), who_of(request)
    job_id = request.match_info["id"]
    task = queen.tasks.find(job_id)
    if task is None:
        await queen.find_info(job_id, who)
        return web.Response(status=204)
    if not who.may_read(task.owner):
        raise no_task(job_id)
    await queen.tasks.cancel(task, "it was asked for")
    return web.Response(status=204)


async def explain(request: web.Request) -> web.Response:
    """Why a task ran where it ran, why it waits, or why it was refused."""
    queen, who = queen_of(request), who_of(request)
    job_id = request.match_info["id"]
    refusal = queen.admission.refusals.find(job_id)
    if refusal is not None and who.may_read(refusal.owner):
        data = refusal.data()
        return json_response({**data, "text": explain_text(data)})
    info = await queen.find_info(job_id, who)
    task = queen.tasks.find(job_id)
    record = await queen.store.task(job_id) if task is None else None
    data = explain_task(queen, info, task, record)
    return json_response({**data, "text": explain_text(data)})


async def show_session(request: web.Request) -> web.Response:
    """A session's time left, turns and budgets."""
    queen, who = queen_of(request), who_of(request)
    owner = None if who.admin else who.id
    return json_response(queen.sessions.show(request.match_info["id"], owner))


async def end_session(request: web.Request) -> web.Response:
    """Forget a session."""
    queen, who = queen_of(request), who_of(request)
    queen.sessions.forget(request.match_info["id"], None if who.admin else who.id)
    return web.Response(status=204)


def _number(value: str | None, name: str, default: float, least: float, most: float) -> float:
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        raise _bad(name, "a number") from None
    if not least <= number <= most:
        raise _bad(name, f"from {least:g} to {most:g}")
    return number


def _bad(field: str, want: str) -> Refused:
    return InvalidParams([{"field": field, "constraint": "query", "message": f"must be {want}"}])


ROUTES = [
    Route(
        "POST",
        "/v2/tasks",
        submit,
        SUBMIT,
        "Hand in a task, and read it at once where the caller accepts events",
        body=TaskRequest,
        answer=Accepted,
        or_stream=True,
        status=202,
        also=(200, 204),
        query={"verbose": "boolean", "last_event_id": "string"},
        errors=(400, 401, 403, 404, 409, 413, 415, 429, 503),
    ),
    Route(
        "GET",
        "/v2/tasks",
        listing,
        READ,
        "List tasks, newest first",
        answer=TaskInfo,
        many="tasks",
        query={
            "state": "string",
            "model": "string",
            "session_id": "string",
            "limit": "number",
            "before": "number",
        },
    ),
    Route("GET", "/v2/tasks/{id}", show, READ, "One task", answer=TaskInfo, errors=(401, 403, 404)),
    Route(
        "GET",
        "/v2/tasks/{id}/events",
        events,
        READ,
        "A task's frames as server-sent events",
        query={"verbose": "boolean", "last_event_id": "string"},
        stream=True,
        also=(204,),
        errors=(401, 403, 404, 503),
    ),
    Route(
        "POST",
        "/v2/tasks/{id}/cancel",
        cancel,
        SUBMIT,
        "Cancel a task",
        status=204,
        errors=(401, 403, 404, 503),
    ),
    Route(
        "GET",
        "/v2/tasks/{id}/explain",
        explain,
        READ,
        "Why a task ran where it ran, or why it waits",
        answer=Explanation,
        errors=(401, 403, 404, 503),
    ),
    Route(
        "GET",
        "/v2/sessions/{id}",
        show_session,
        READ,
        "One session",
        answer=SessionInfo,
        errors=(401, 403, 404),
    ),
    Route(
        "DELETE",
        "/v2/sessions/{id}",
        end_session,
        SUBMIT,
        "Forget a session",
        status=204,
        errors=(401, 403, 404),
    ),
]
"""The data plane."""
