"""A queen on paper: real HTTP and SSE, no hive and no model; for the control center's own tests.

She answers ``/v2/events`` with the snapshot and telemetry she was given, ``/v2/streams/tap`` with
tokens at a steady pace, and takes tasks, cancellations and worker wishes. What she does is kept
small enough to be read at once: it proves the screens, never the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.events import Change, FleetSnapshot, Narration, TapChunk, TapStream
from rbee_agent.contracts.nodes import Telemetry
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest, TaskState, Timings
from rbee_agent.wire.sse import encode

TAP_INTERVAL_S = 0.1
TELEMETRY_INTERVAL_S = 1.0
WORDS = [
    "the",
    "bees",
    "of",
    "the",
    "house",
    "are",
    "small",
    "machines",
    "and",
    "each",
    "one",
    "carries",
    "a",
    "single",
    "word",
]


@dataclass
class PaperQueen:
    """Her state; `url` is set while she serves."""

    snapshot: FleetSnapshot
    telemetry: Callable[[float], list[Telemetry]] = lambda _now: []
    tokens_per_s: float = 40.0
    max_tokens: int = 10_000
    telemetry_interval_s: float = TELEMETRY_INTERVAL_S
    """How often `telemetry` is asked for what is due."""
    now: Callable[[], float] = time.time
    url: str = ""
    cancelled: list[str] = field(default_factory=list)
    submitted: list[TaskRequest] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    spawned: list[dict[str, Any]] = field(default_factory=list)
    refuse: web.Response | None = None
    """Given to the next POST in place of an answer."""

    def __post_init__(self) -> None:
        self._seq = self.snapshot.seq
        self._ids = itertools.count(1)
        self._running: dict[str, tuple[TaskInfo, float, int]] = {}
        self._told: list[Narration] = []
        self._feeds: set[asyncio.Queue[bytes | None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[PaperQueen]:
        """Serve on loopback; `port` 0 takes a free one."""
        app = web.Application()
        app.router.add_get("/v2/events", self._events)
        app.router.add_get("/v2/streams/tap", self._tap)
        app.router.add_post("/v2/tasks", self._submit)
        app.router.add_post("/v2/tasks/{id}/cancel", self._cancel)
        app.router.add_get("/v2/tasks/{id}/explain", self._explain)
        app.router.add_post("/v2/workers", self._spawn)
        app.router.add_delete("/v2/workers/{id}", self._stop)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            yield self
        finally:
            for queue in self._feeds:
                queue.put_nowait(None)
            await runner.cleanup()

    def change(self, noun: str, id: str, value: Contract | None) -> None:
        """Tell every feed that something is now so (None: is no more)."""
        self._seq += 1
        change = Change(
            seq=self._seq,
            at=self.now(),
            noun=noun,
            id=id,
            op="put" if value is not None else "delete",
            value=value.dump() if value is not None else None,
        )
        self._tell("change", change, durable=True)

    def narrate(self, text: str, *, noun: str | None = None, id: str | None = None) -> None:
        """Tell every feed what happened, in words."""
        self._seq += 1
        narration = Narration(
            seq=self._seq, at=self.now(), actor="queen", text=text, noun=noun, id=id
        )
        self._told.append(narration)
        self._tell("narration", narration, durable=True)

    @property
    def running(self) -> int:
        """Tasks that stream now."""
        return len(self._running)

    def begin(self, task: TaskInfo) -> None:
        """Let a task stream from now on, as if somebody had sent it."""
        self._running[task.job_id] = (task, self.now(), 0)
        self.change("task", task.job_id, task)

    def break_feeds(self) -> None:
        """Close every event stream, as a queen that restarts does."""
        for queue in self._feeds:
            queue.put_nowait(None)

    def _tell(self, name: str, value: Contract, *, durable: bool = False) -> None:
        data = encode(value.dump_json(), event=name, id=f"paper-{self._seq}" if durable else None)
        for queue in self._feeds:
            queue.put_nowait(data)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = await _stream(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._feeds.add(queue)
        snapshot = self.snapshot.model_copy(
            update={
                "at": self.now(),
                "seq": self._seq,
                "tasks": [*self.snapshot.tasks, *(task for task, _, _ in self._running.values())],
                "narration": [*self.snapshot.narration, *self._told],
            }
        )
        await response.write(
            encode(snapshot.dump_json(), event="snapshot", id=f"paper-{self._seq}")
        )
        loop = asyncio.get_running_loop()
        due = loop.time() + self.telemetry_interval_s
        try:
            while True:
                try:
                    async with asyncio.timeout_at(due):
                        data = await queue.get()
                except TimeoutError:
                    due = max(due + self.telemetry_interval_s, loop.time())
                    data = b"".join(
                        encode(value.dump_json(), event="telemetry")
                        for value in self.telemetry(self.now())
                    )
                if data is None:
                    break
                await response.write(data or b": ping\n\n")
        except ConnectionError:
            return response
        finally:
            self._feeds.discard(queue)
        return response

    async def _tap(self, request: web.Request) -> web.StreamResponse:
        response = await _stream(request)
        try:
            while not request.transport.is_closing() if request.transport else False:
                await asyncio.sleep(TAP_INTERVAL_S)
                chunk = self._chunk()
                if chunk.streams:
                    await response.write(encode(chunk.dump_json(), event="tap"))
        except ConnectionError:
            return response
        return response

    def _chunk(self) -> TapChunk:
        now = self.now()
        streams = []
        for job, (task, began, told) in list(self._running.items()):
            due = min(self.max_tokens, int((now - began) * self.tokens_per_s))
            text = "".join(f"{WORDS[at % len(WORDS)]} " for at in range(told, due))
            over = due >= self.max_tokens
            streams.append(
                TapStream(
                    job_id=job,
                    model=task.model,
                    worker_id=task.worker_id,
                    tokens_out=due,
                    tokens_per_s=self.tokens_per_s,
                    text=text,
                    state="done" if over else "running",
                )
            )
            self._running[job] = (task, began, due)
            if over:
                self._end(job, TaskState.DONE)
        return TapChunk(at=now, streams=streams)

    def _end(self, job: str, state: TaskState) -> None:
        entry = self._running.pop(job, None)
        if entry is not None:
            task, _, told = entry
            ended = task.model_copy(
                update={
                    "state": state,
                    "ended_at": self.now(),
                    "timings": Timings(tokens_out=told),
                }
            )
            self.change("task", job, ended)

    async def _submit(self, request: web.Request) -> web.Response:
        if self.refuse is not None:
            refused, self.refuse = self.refuse, None
            return refused
        task = TaskRequest.read(await request.json())
        self.submitted.append(task)
        job = task.task_id or f"task-{next(self._ids)}"
        worker = next((w.id for w in self.snapshot.workers if w.model == task.model), None)
        info = TaskInfo(
            job_id=job,
            state=TaskState.RUNNING,
            model=task.model,
            created_at=self.now(),
            worker_id=worker,
        )
        self.begin(info)
        self.narrate(f"{job} runs on {worker}", noun="task", id=job)
        return _json(Accepted(job_id=job, state=TaskState.RUNNING), status=202)

    async def _cancel(self, request: web.Request) -> web.Response:
        job = request.match_info["id"]
        self.cancelled.append(job)
        self._end(job, TaskState.CANCELLED)
        return web.Response(status=204)

    async def _explain(self, request: web.Request) -> web.Response:
        return web.json_response({"job_id": request.match_info["id"], "candidates": []})

    async def _spawn(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.spawned.append(body)
        return _json(Deployment(id=f"dep-{next(self._ids)}", model=body["model"]), status=201)

    async def _stop(self, request: web.Request) -> web.Response:
        worker = request.match_info["id"]
        self.stopped.append(worker)
        self.change("worker", worker, None)
        self.narrate(f"{worker} stopped", noun="worker", id=worker)
        return web.Response(status=204)


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def _json(value: Contract, *, status: int) -> web.Response:
    return web.json_response(json.loads(value.dump_json()), status=status)
