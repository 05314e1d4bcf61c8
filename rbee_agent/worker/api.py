"""The worker's routes: they translate between HTTP and the engine and decide nothing."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.frames import PingFrame
from rbee_agent.contracts.workers import ExecuteRequest, TemplateRequest
from rbee_agent.errors import RbeeError, Refused
from rbee_agent.http.errors import json_response
from rbee_agent.http.middleware import correlate, refuse_web_pages, require
from rbee_agent.http.server import read_json_object
from rbee_agent.http.sse import SseWriter
from rbee_agent.settings.secret import Secret
from rbee_agent.wire.sse import encode
from rbee_agent.worker.streams import JobStream

if TYPE_CHECKING:
    from rbee_agent.worker.service import Worker

MAX_BODY = 64 * 1024 * 1024
PING_S = 0.5
"""How often a stream without tokens says that the engine lives: a dead one is noticed in 1 s."""


class _Cancel(Contract):
    job_id: str


class _Tokenize(Contract):
    text: str
    add_special: bool = False
    parse_special: bool = False


class _Detokenize(Contract):
    tokens: list[int]


class _Embed(Contract):
    inputs: list[str] = Field(min_length=1)


class _Shutdown(Contract):
    drain_ms: int = Field(0, ge=0, le=600_000)


def make_app(worker: Worker, token: Secret) -> web.Application:
    """The application of one worker; every route wants `token`."""

    def check(_: web.Request, presented: str | None) -> None:
        if presented is None:
            raise Refused("a worker wants the token of its hive", code="MISSING_TOKEN")
        if not token.matches(presented):
            raise Refused("this is not the worker's token", code="BAD_TOKEN")

    app = web.Application(
        middlewares=[correlate, refuse_web_pages(), require(check)], client_max_size=MAX_BODY
    )
    routes = Routes(worker)
    app.router.add_post("/execute", routes.execute)
    app.router.add_post("/cancel", routes.cancel)
    app.router.add_get("/health", routes.health)
    app.router.add_get("/metrics", routes.metrics)
    app.router.add_post("/tokenize", routes.tokenize)
    app.router.add_post("/detokenize", routes.detokenize)
    app.router.add_post("/apply-template", routes.apply_template)
    app.router.add_get("/words", routes.words)
    app.router.add_post("/embed", routes.embed)
    app.router.add_post("/shutdown", routes.shutdown)
    return app


class Routes:
    """Handlers around one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def execute(self, request: web.Request) -> web.StreamResponse:
        """Run one job and stream its frames; a reader that goes away cancels it."""
        body = ExecuteRequest.read(await read_json_object(request, max_bytes=MAX_BODY))
        stream = await self._worker.submit(body)
        try:
            async with SseWriter(request) as writer:
                await self._pump(stream, writer)
            return writer.response
        finally:
            if not stream.ended:
                self._worker.cancel(stream.job_id)

    async def _pump(self, stream: JobStream, writer: SseWriter) -> None:
        while not stream.ended:
            if await stream.wait(PING_S):
                chunk = stream.take()
                if chunk:
                    await writer.write(chunk)
            else:
                ping = PingFrame.model_construct(
                    step=self._worker.engine.stats().step,
                    phase=stream.phase,
                    done=stream.done,
                    total=stream.total,
                )
                await writer.write(encode(ping.dump_json(), event="ping"))

    async def cancel(self, request: web.Request) -> web.Response:
        """End a job wherever it is; 204 also when it is not (any more) here."""
        body = _Cancel.read(await read_json_object(request, max_bytes=10_000))
        self._worker.cancel(body.job_id)
        return web.Response(status=204)

    async def health(self, _: web.Request) -> web.Response:
        """State and gauges; 503 until the model is loaded."""
        health = self._worker.health()
        return json_response(health.dump(), status=200 if health.status == "ready" else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text."""
        return web.Response(text=self._worker.metrics_text(), content_type="text/plain")

    async def tokenize(self, request: web.Request) -> web.Response:
        """Text to token ids, and the bytes that each shows (base64: they may be no whole text)."""
        body = _Tokenize.read(await read_json_object(request, max_bytes=MAX_BODY))
        engine = self._worker.ready_engine()
        ids = await asyncio.to_thread(
            engine.tokenize,
            body.text,
            add_special=body.add_special,
            parse_special=body.parse_special,
        )
        pieces = [base64.b64encode(engine.piece(token)).decode() for token in ids]
        return json_response({"tokens": ids, "pieces": pieces})

    async def detokenize(self, request: web.Request) -> web.Response:
        """Token ids to text."""
        body = _Detokenize.read(await read_json_object(request, max_bytes=MAX_BODY))
        engine = self._worker.ready_engine()
        return json_response({"text": await asyncio.to_thread(engine.detokenize, body.tokens)})

    async def apply_template(self, request: web.Request) -> web.Response:
        """Messages to the prompt that the model would read."""
        asked = TemplateRequest.read(await read_json_object(request, max_bytes=MAX_BODY))
        engine = self._worker.ready_engine()
        text = await asyncio.to_thread(engine.apply_template, asked)
        return json_response({"prompt": text})

    async def words(self, _: web.Request) -> web.Response:
        """What the model's file says of chats."""
        return json_response(self._worker.ready_engine().words())

    async def embed(self, request: web.Request) -> web.Response:
        """Embeddings as one JSON document."""
        body = _Embed.read(await read_json_object(request, max_bytes=MAX_BODY))
        data = await self._worker.embed(body.inputs)
        return json_response({"data": data})

    async def shutdown(self, request: web.Request) -> web.Response:
        """Take no new jobs, let the running ones end within `drain_ms`, then exit."""
        given = await read_json_object(request, max_bytes=1000) if request.can_read_body else {}
        self._worker.request_shutdown(_Shutdown.read(given).drain_ms / 1000)
        return web.Response(status=202)


def refused_now(state: str) -> RbeeError:
    """What a worker that is not ready answers to work."""
    return RbeeError(f"the worker is {state}", code="POOL_UNREADY", retry_after_ms=1000)
