"""A queen that answers from a script over real HTTP: for tests of clients.

She keeps the contract's promises about streams (Last-Event-ID, idempotent POST, cancel) and can be
told to break them at the connection: abort after a token, refuse for a while, go away and return.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from rbee_agent import __version__
from rbee_agent.contracts.base import PROTOCOL_VERSION
from rbee_agent.contracts.routes import SSE_CONTENT_TYPE
from rbee_agent.errors import Conflict, NotFound, RbeeError
from rbee_agent.http.errors import json_response
from rbee_agent.http.middleware import bearer, correlate
from rbee_agent.http.server import Server
from rbee_agent.http.sse import SseWriter
from rbee_agent.wire.frames import token_frame, without_ids


class ScriptedQueen:
    """Answers every task with `words`; the attributes are the script and the record."""

    def __init__(self, *, words: list[str] | None = None, token: str | None = None) -> None:
        self.words = words or ["One", " two", " three", "."]
        self.token = token
        self.cuts: deque[int] = deque()
        """Each entry: abort the connection once, after the token with this index."""
        self.refusals: deque[RbeeError] = deque()
        """Each entry: answer the next POST of a task with this error."""
        self.lost_posts = 0
        """So many POSTs of a task are taken, and the connection aborted before the answer."""
        self.hold_at: int | None = None
        """Wait for `release` before the token with this index."""
        self.release = asyncio.Event()
        self.reached = asyncio.Event()
        """Set when a stream waits at `hold_at`."""
        self.ends_with: RbeeError | None = None
        self.nodes: list[dict[str, Any]] = []
        self.workers: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.tasks: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.last_event_ids: list[str | None] = []
        """What each opened event stream said it had."""
        self.feed: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        """Events of the fleet's feed behind the snapshot: name and JSON."""
        self.snapshot = "{}"
        self.headers: list[Mapping[str, str]] = []
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where she listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port as before, where she did."""
        app = web.Application(middlewares=[correlate])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v2/meta/version", self._version)
        app.router.add_get("/v2/nodes", self._nodes)
        app.router.add_get("/v2/workers", self._workers)
        app.router.add_get("/v2/catalog/models", self._models)
        app.router.add_get("/v2/tasks", self._list)
        app.router.add_post("/v2/tasks", self._submit)
        app.router.add_get("/v2/tasks/{id}", self._task)
        app.router.add_get("/v2/tasks/{id}/events", self._events)
        app.router.add_post("/v2/tasks/{id}/cancel", self._cancel)
        app.router.add_get("/v2/events", self._feed)
        self._server = Server(app, shutdown_timeout=0.1)
        await self._server.start("127.0.0.1", self.port, choose="another")
        self.port = self._server.port

    async def stop(self) -> None:
        """Go away; open streams break."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    def _check(self, request: web.Request) -> None:
        self.headers.append(dict(request.headers))
        if self.token is not None and bearer(request) != self.token:
            raise RbeeError("the token is not known", code="BAD_TOKEN")

    async def _health(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"status": "ok", "version": __version__})

    async def _version(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"version": __version__, "protocol": PROTOCOL_VERSION})

    async def _nodes(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"nodes": self.nodes})

    async def _workers(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"workers": self.workers})

    async def _models(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"models": self.models})

    async def _list(self, request: web.Request) -> web.Response:
        self._check(request)
        return json_response({"tasks": [_info(i, b) for i, b in self.tasks.items()]})

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        if self.refusals:
            raise self.refusals.popleft()
        body = await request.json()
        job_id = body["task_id"]
        known = self.tasks.get(job_id)
        if known is not None and known != body:
            raise Conflict("another task has that id")
        self.tasks[job_id] = body
        if self.lost_posts:
            self.lost_posts -= 1
            assert request.transport is not None  # noqa: S101 - its body was just read
            request.transport.abort()
        answer = {"job_id": job_id, "queue_position": 0, "backoff_ms": 0}
        if request.headers["Accept"] == SSE_CONTENT_TYPE:
            return await self._stream(request, job_id, {"type": "accepted", **answer})
        return json_response(answer, status=200 if known else 202)

    async def _task(self, request: web.Request) -> web.Response:
        self._check(request)
        job_id = request.match_info["id"]
        return json_response(_info(job_id, self._known(job_id)))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._check(request)
        job_id = request.match_info["id"]
        self._known(job_id)
        self.cancelled.add(job_id)
        return web.Response(status=204)

    def _known(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.tasks:
            raise NotFound(f"no task {job_id}")
        return self.tasks[job_id]

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        return await self._stream(request, request.match_info["id"])

    async def _stream(
        self, request: web.Request, job_id: str, accepted: dict[str, Any] | None = None
    ) -> web.StreamResponse:
        body = self._known(job_id)
        last = request.headers.get("Last-Event-ID")
        self.last_event_ids.append(last)
        if last == "end":
            return web.Response(status=204)
        first = 0 if last is None else int(last) + 1
        async with SseWriter(request) as writer:
            if accepted is not None:
                await writer.send(json.dumps(accepted), event="accepted")
            if first == 0:
                await writer.send(
                    f'{{"type":"started","job_id":"{job_id}","worker_id":"worker-1",'
                    f'"model":"{body["model"]}"}}',
                    event="started",
                )
            for index in range(first, len(self.words)):
                if index == self.hold_at:
                    self.reached.set()
                    await self.release.wait()
                frame = without_ids(token_frame(index, self.words[index], [index]))
                await writer.send(frame, event="token", id=str(index))
                if self.cuts and self.cuts[0] == index:
                    self.cuts.popleft()
                    assert request.transport is not None  # noqa: S101 - it was just written to
                    request.transport.abort()
                    return writer.response
            await self._finish(writer)
        return writer.response

    async def _finish(self, writer: SseWriter) -> None:
        if self.ends_with is not None:
            error = self.ends_with
            await writer.send(
                f'{{"type":"error","code":"{error.code}","message":"{error.message}"}}',
                event="error",
                id="end",
            )
            return
        await writer.send(
            f'{{"type":"end","tokens_in":5,"tokens_out":{len(self.words)},"tokens_cached":0,'
            '"decode_time_ms":12,"first_token_ms":3,"finish_reason":"stop","resumed":0}',
            event="end",
            id="end",
        )

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        self.last_event_ids.append(request.headers.get("Last-Event-ID"))
        async with SseWriter(request) as writer:
            await writer.send(self.snapshot, event="snapshot", id="e-0")
            while True:
                name, data = await self.feed.get()
                await writer.send(data, event=name)
        return writer.response


def _info(job_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": job_id, "state": "done", "model": body["model"], "created_at": 1.0}
