"""A hive without a host: real HTTP, fake workers, every event under the test's control."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import GgufFacts, ModelFile, PullProgress
from rbee_agent.contracts.nodes import (
    HiveIdentity,
    HiveSnapshot,
    NodeRegistration,
    Telemetry,
    WorkerGauge,
)
from rbee_agent.contracts.workers import SpawnRequest, WorkerState
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import Server
from rbee_agent.testing.worker import FakeWorker
from rbee_agent.wire.sse import encode

GIB = 1024**3
MakeWorker = Callable[[str, SpawnRequest], FakeWorker]


class FakeHive:
    """One simulated host; an async context manager that serves on a free port."""

    def __init__(
        self,
        node_id: str = "node-1",
        *,
        models: tuple[str, ...] = ("demo",),
        memory: int = 16 * GIB,
        make_worker: MakeWorker | None = None,
        telemetry_s: float = 1.0,
    ) -> None:
        self.node_id = node_id
        self.token = f"hive-token-of-{node_id}-0123456789"
        self.workers: dict[str, FakeWorker] = {}
        self.states: dict[str, WorkerState] = {}
        self.errors: dict[str, str] = {}
        self.models = {name: model_file(name) for name in models}
        self.memory = memory
        self.spawns: list[SpawnRequest] = []
        self.stops: list[str] = []
        self.pulls: list[Any] = []
        self.refuse_spawn: dict[str, Any] | None = None
        """An error object: every spawn is refused with it."""
        self.mute = False
        """Send nothing on any link, and answer no health."""
        self._make = make_worker or (
            lambda name, request: FakeWorker(name, model=request.model, node_id=node_id)
        )
        self._telemetry_s = telemetry_s
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._server: Server | None = None
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/events", self._events)
        app.router.add_post("/v1/workers", self._spawn)
        app.router.add_delete("/v1/workers/{id}", self._stop)
        app.router.add_get("/v1/workers/{id}/logs", self._logs)
        app.router.add_post("/v1/models", self._pull)
        app.router.add_post("/v1/models/{id}/verify", self._verify)
        self._server = Server(app, shutdown_timeout=0.05)
        await self._server.start("127.0.0.1", 0, choose="another port")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._server is not None:
            await self._server.close()
        for worker in list(self.workers.values()):
            await worker.__aexit__(None, None, None)

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None  # noqa: S101 - entered
        return f"http://127.0.0.1:{self._server.port}"

    def registration(self) -> NodeRegistration:
        """How a queen reaches it."""
        return NodeRegistration(node_id=self.node_id, url=self.url, token=self.token)

    async def add(self, worker: FakeWorker) -> FakeWorker:
        """Start a worker of the test's own and report it."""
        worker.node_id = self.node_id
        await worker.__aenter__()
        self.workers[worker.id] = worker
        self.report(worker.id)
        return worker

    def report(
        self, worker_id: str, state: WorkerState = WorkerState.READY, error: str | None = None
    ) -> None:
        """Tell the queen a worker's state."""
        self.states[worker_id] = state
        info = self.workers[worker_id].info(state).model_copy(update={"error": error})
        self.say("worker", info.dump_json())

    async def kill(self, worker_id: str, *, tell: bool = True) -> None:
        """End a worker as a crash would."""
        worker = self.workers.pop(worker_id)
        self.states.pop(worker_id, None)
        await worker.__aexit__(None, None, None)
        if tell:
            self.say("worker_gone", json.dumps({"id": worker_id}))

    def say(self, event: str, data: str) -> None:
        """Send an event on every link."""
        if not self.mute:
            for reader in self._readers:
                reader.put_nowait(encode(data, event=event))

    def snapshot(self) -> HiveSnapshot:
        """All that it knows."""
        return HiveSnapshot(
            identity=HiveIdentity(
                node_id=self.node_id,
                hostname=self.node_id,
                version="0.1.0",
                protocol=1,
                backends=["cpu"],
            ),
            at=0.0,
            devices=[self._device()],
            workers=[
                w.info(self.states.get(w.id, WorkerState.READY)) for w in self.workers.values()
            ],
            models=list(self.models.values()),
            disk_free=100 * GIB,
        )

    def _device(self) -> Device:
        return Device(
            id="cpu",
            backend="cpu",
            name="simulated",
            memory_total=self.memory,
            memory_used=0,
            memory_free=self.memory,
        )

    async def _health(self, _: web.Request) -> web.StreamResponse:
        if self.mute:
            await self._closing.wait()
        return json_response({"status": "ok", "node_id": self.node_id})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return json_response(
                {"error": {"code": "BAD_TOKEN", "message": "no", "retriable": False}}, status=401
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._readers.add(queue)
        try:
            await response.write(encode(self.snapshot().dump_json(), event="snapshot"))
            while not self._closing.is_set():
                try:
                    async with asyncio.timeout(self._telemetry_s):
                        chunk = await queue.get()
                except TimeoutError:
                    chunk = encode(self._telemetry().dump_json(), event="telemetry")
                if not self.mute:
                    await response.write(chunk)
        finally:
            self._readers.discard(queue)
        return response

    def _telemetry(self) -> Telemetry:
        return Telemetry(
            node_id=self.node_id,
            at=0.0,
            devices=[self._device()],
            workers=[WorkerGauge(id=worker.id) for worker in self.workers.values()],
        )

    async def _spawn(self, request: web.Request) -> web.StreamResponse:
        wanted = SpawnRequest.read(await request.json())
        self.spawns.append(wanted)
        if self.refuse_spawn is not None:
            return json_response({"error": self.refuse_spawn}, status=503)
        worker_id = wanted.worker_id or f"{self.node_id}.w{len(self.spawns)}"
        worker = self._make(worker_id, wanted)
        await self.add(worker)
        return json_response(worker.info().dump(), status=201)

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        worker_id = request.match_info["id"]
        if worker_id not in self.workers:
            return json_response(
                {"error": {"code": "NOT_FOUND", "message": "no", "retriable": False}}, status=404
            )
        self.stops.append(worker_id)
        await self.kill(worker_id)
        return web.Response(status=204)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        return json_response({"lines": ["loading", "ready", request.match_info["id"]]})

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        return json_response({"id": request.match_info["id"], "ok": True})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.pulls.append(body)
        model = body["model"]
        name = model if isinstance(model, str) else model["id"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        file = model_file(name)
        for progress in (
            PullProgress(model=name, phase="download", done=1, total=2),
            PullProgress(model=name, phase="done", done=2, total=2, file=file),
        ):
            await response.write(encode(progress.dump_json(), event="pull"))
        self.models[name] = file
        self.say("model", file.dump_json())
        return response


def model_file(name: str) -> ModelFile:
    """A model file that is only said to be there."""
    return ModelFile(
        id=name,
        path=f"/models/{name}.gguf",
        size=1000,
        fingerprint="f" * 64,
        facts=GgufFacts(architecture="llama", size=1000, tensor_bytes=900, context_length=4096),
        registered_at=0.0,
    )
