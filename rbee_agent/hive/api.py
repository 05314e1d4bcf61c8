"""The hive's routes. Every one but ``/health`` wants the hive's token."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from rbee_agent import __version__
from rbee_agent.contracts.models import CatalogModel, PullProgress
from rbee_agent.contracts.routes import WORKER_WAY
from rbee_agent.contracts.workers import SpawnRequest, WorkerReady
from rbee_agent.errors import Conflict, RbeeError, Refused, Unavailable, Unreachable
from rbee_agent.hive.log_tail import last_lines
from rbee_agent.hive.passage import pass_on
from rbee_agent.http.errors import json_response
from rbee_agent.http.middleware import correlate, refuse_web_pages, require
from rbee_agent.http.server import read_json_object
from rbee_agent.http.sse import SseWriter
from rbee_agent.models import catalog, references
from rbee_agent.observe import logs
from rbee_agent.settings.secret import Secret

if TYPE_CHECKING:
    from rbee_agent.hive.service import Hive

MAX_BODY = 4 * 1024 * 1024
DEFAULT_LOG_LINES = 200
_CALLBACK = "/v1/workers/ready"


def make_app(hive: Hive, callback_token: Secret, session: aiohttp.ClientSession) -> web.Application:
    """The application of one hive; workers call back with a token of their own."""

    def check(request: web.Request, presented: str | None) -> None:
        if request.path == "/health":
            return
        wanted, whose = callback_token if request.path == _CALLBACK else hive.token, "hive's"
        if "passed_to" in request.match_info and hive.ready:
            wanted, whose = hive.workers.token_of(request.match_info["passed_to"]), "worker's"
        if presented is None:
            raise Refused("a hive wants its token", code="MISSING_TOKEN")
        if not wanted.matches(presented):
            raise Refused(f"this is not the {whose} token", code="BAD_TOKEN")
        if not hive.ready and request.path != _CALLBACK:
            # Before its workers are adopted it would tell the queen that they are gone.
            raise Unavailable("the hive is starting", code="POOL_UNREADY", retry_after_ms=200)

    # A tunnel's far end calls the hive by whatever name it has there.
    app = web.Application(
        middlewares=[correlate, refuse_web_pages(), require(check)], client_max_size=MAX_BODY
    )
    routes = Routes(hive, session)
    add = app.router
    add.add_get("/health", routes.health)
    add.add_get("/metrics", routes.metrics)
    add.add_get("/v1/events", routes.events)
    add.add_get("/v1/devices", routes.devices)
    add.add_get("/v1/capabilities", routes.capabilities)
    add.add_get("/v1/models", routes.models)
    add.add_post("/v1/models", routes.pull)
    add.add_delete("/v1/models/{id}", routes.remove_model)
    add.add_post("/v1/models/{id}/verify", routes.verify)
    add.add_get("/v1/workers", routes.workers)
    add.add_post("/v1/workers", routes.spawn)
    add.add_post(_CALLBACK, routes.ready)
    add.add_delete("/v1/workers/{id}", routes.stop)
    add.add_get("/v1/workers/{id}/logs", routes.logs)
    add.add_route("*", f"/v1/workers/{{passed_to}}/{WORKER_WAY}/{{path:.*}}", routes.passage)
    return app


class Routes:
    """Handlers around one hive; they translate and decide nothing."""

    def __init__(self, hive: Hive, session: aiohttp.ClientSession) -> None:
        self._hive = hive
        self._session = session

    async def health(self, _: web.Request) -> web.Response:
        """That it lives, and who it is."""
        return json_response(
            {"status": "ok", "node_id": self._hive.node_id, "version": __version__}
        )

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text of devices and workers."""
        from rbee_agent.hive.metrics import render

        return web.Response(text=render(await self._hive.snapshot()), content_type="text/plain")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """A snapshot, then every change, telemetry each second."""
        async with SseWriter(request) as writer:
            async for chunk in self._hive.feed.read(self._hive.snapshot):
                await writer.write(chunk)
        return writer.response

    async def devices(self, _: web.Request) -> web.Response:
        """Devices with what is free and who holds the rest."""
        snapshot = await self._hive.snapshot()
        return json_response({"devices": [device.dump() for device in snapshot.devices]})

    async def capabilities(self, _: web.Request) -> web.Response:
        """What workers here can compute with."""
        found = self._hive.workers.backends
        return json_response(
            {
                **self._hive.identity.dump(),
                "llama_cpp": found.llama_cpp,
                "problem": found.problem,
            }
        )

    async def models(self, _: web.Request) -> web.Response:
        """Model files on this host."""
        return json_response({"models": [file.dump() for file in self._hive.shelf.all()]})

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Get a model here; progress as events ``progress``, then ``done`` or ``error``."""
        body = await read_json_object(request, max_bytes=MAX_BODY)
        model = _wanted(body.get("model"))
        news: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        writer = SseWriter(request)
        try:
            async with writer, asyncio.TaskGroup() as group:
                group.create_task(self._pull(model, news))
                event = ""
                while event not in ("done", "error"):
                    event, data = await news.get()
                    await writer.send(data, event=event)
        except* ConnectionResetError:
            # Nobody reads any more: the pull has ended with its request, and can be gone on with.
            logs.get("hive").info("pull left", model=model.id)
        return writer.response

    async def _pull(self, model: CatalogModel, news: asyncio.Queue[tuple[str, str]]) -> None:
        def tell(progress: PullProgress) -> None:
            news.put_nowait(("progress", progress.dump_json()))

        try:
            file = await self._hive.pull(model, tell)
        except RbeeError as error:
            news.put_nowait(("error", json.dumps(error.body())))
        except OSError as error:
            said = RbeeError(f"{error.filename}: {error.strerror}", code="CONFLICT")
            news.put_nowait(("error", json.dumps(said.body())))
        else:
            last = PullProgress(model=model.id, phase="done", done=file.size, file=file)
            news.put_nowait(("done", last.dump_json()))

    async def remove_model(self, request: web.Request) -> web.Response:
        """Take a model off the shelf; its bytes go when rbee brought them."""
        model_id = request.match_info["id"]
        user = next((w.id for w in self._hive.workers.infos() if w.model == model_id), None)
        if user is not None:
            raise Conflict(
                f"worker {user} uses {model_id}; stop it first: rbee-hive worker stop {user}"
            )
        if not self._hive.forget_model(model_id, delete=True):
            raise self._hive.shelf.missing(model_id)
        return web.Response(status=204)

    async def verify(self, request: web.Request) -> web.Response:
        """Hash the bytes and hold them against what they should be."""
        model_id = request.match_info["id"]
        found = await asyncio.to_thread(self._hive.shelf.verify, model_id)
        return json_response({"model": model_id, **_plain(found)})

    async def workers(self, _: web.Request) -> web.Response:
        """The workers of this host."""
        return json_response({"workers": [worker.dump() for worker in self._hive.workers.infos()]})

    async def spawn(self, request: web.Request) -> web.Response:
        """Start a worker: 201 as soon as its process runs."""
        body = SpawnRequest.read(await read_json_object(request, max_bytes=MAX_BODY))
        info = await self._hive.workers.spawn(body)
        return json_response(info.dump(), status=201)

    async def ready(self, request: web.Request) -> web.Response:
        """A worker of ours is ready."""
        body = WorkerReady.read(await read_json_object(request, max_bytes=MAX_BODY))
        self._hive.workers.on_ready(body)
        return web.Response(status=204)

    async def stop(self, request: web.Request) -> web.Response:
        """End a worker (``?drain_ms=``); 204 when its memory is back."""
        drain = request.query.get("drain_ms", "0")
        if not drain.isdigit():
            raise Refused("drain_ms is a number of milliseconds")
        await self._hive.workers.stop(request.match_info["id"], drain_s=int(drain) / 1000)
        return web.Response(status=204)

    async def passage(self, request: web.Request) -> web.StreamResponse:
        """A worker's own API, for who has the worker's token."""
        worker = self._hive.workers.get(request.match_info["passed_to"])
        if worker.info.url is None:
            raise Unreachable(f"worker {worker.record.id} is {worker.info.state.value}")
        target = f"{worker.info.url}/{request.match_info['path']}"
        return await pass_on(self._session, request, target)

    async def logs(self, request: web.Request) -> web.Response:
        """A worker's last log lines (``?lines=``)."""
        lines = request.query.get("lines", str(DEFAULT_LOG_LINES))
        if not lines.isdigit():
            raise Refused("lines is a number")
        worker = self._hive.workers.get(request.match_info["id"])
        found = await asyncio.to_thread(last_lines, worker.log, min(int(lines), 10_000))
        return json_response({"lines": found})


def _wanted(said: Any) -> CatalogModel:
    """The model of a pull: a catalog entry from the queen, or a name."""
    if isinstance(said, dict):
        return CatalogModel.read(said)
    if not isinstance(said, str) or not said:
        raise Refused("model is an alias, a reference, or a catalog entry")
    return references.resolve(said, catalog.builtin())


def _plain(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"ok": bool(value)}
