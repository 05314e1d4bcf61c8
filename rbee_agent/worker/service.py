"""One worker from start to end: serve at once, load, call back, work, drain, exit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable
from typing import Any, Literal

import aiohttp

from rbee_agent import __version__
from rbee_agent.contracts.base import PROTOCOL_VERSION
from rbee_agent.contracts.workers import ExecuteRequest, WorkerHealth, WorkerReady
from rbee_agent.engine import Engine
from rbee_agent.errors import RbeeError
from rbee_agent.http.server import Server
from rbee_agent.observe import logs
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.secret import Secret
from rbee_agent.wire.versions import version_headers
from rbee_agent.worker.api import make_app, refused_now
from rbee_agent.worker.metrics import render
from rbee_agent.worker.streams import Bridge, JobStream

CALLBACK_ATTEMPTS = 8
CALLBACK_TIMEOUT_S = 5.0
EMBED_TIMEOUT_S = 600.0

Status = Literal["loading", "ready", "stopping", "failed"]


class Worker:
    """Owns one engine and the jobs in it. `run` is its whole life."""

    def __init__(
        self,
        engine: Engine,
        *,
        worker_id: str,
        model_id: str,
        token: Secret,
        clock: Clock,
        callback_url: str | None = None,
        callback_token: str | None = None,
    ) -> None:
        """Put a worker together; nothing is loaded or bound yet."""
        self.engine = engine
        self.worker_id = worker_id
        self._model_id = model_id
        self._token = token
        self._clock = clock
        self._callback_url = callback_url
        self._callback_token = callback_token
        self._began = clock.monotonic()
        self._status: Status = "loading"
        self._error: str | None = None
        self._progress = 0.0
        self._jobs: set[str] = set()
        self._idle = asyncio.Event()
        self._shutdown = asyncio.Event()
        self._died: str | None = None
        self._drain_s = 0.0
        self._bridge: Bridge | None = None
        self._log = logs.get("worker").bind(worker_id=worker_id)

    async def run(self, stop: asyncio.Event, host: str, port: int) -> None:
        """Serve on `host` and `port` until `stop` is set or a shutdown is asked for.

        Raises:
            Conflict: the port is in use.
            RbeeError: the model could not be loaded; what was needed and what there was.
        """
        self._bridge = Bridge(asyncio.get_running_loop())
        self.engine.on_step = self._bridge.flush
        loop = asyncio.get_running_loop()
        self.engine.on_death = lambda reason: _tell(loop, self._mourn, reason)
        server = Server(make_app(self, self._token), shutdown_timeout=1.0)
        await server.start(host, port, choose="--port N")
        url = f"http://{host}:{server.port}"
        self._log.info("serving", url=url, pid=os.getpid())
        try:
            await self._load()
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(self._call_back(url))
                await self._until_told(stop)
                calling.cancel()
        finally:
            self._status = "stopping"
            await server.close()
            await asyncio.to_thread(self.engine.close)
            self._log.info("stopped")
        if self._died is not None:
            raise RbeeError(f"the engine's thread ended: {self._died}")

    async def submit(self, request: ExecuteRequest) -> JobStream:
        """Hand a job to the engine.

        Raises:
            RbeeError: the worker is not ready, or the request is refused before any work.
        """
        self.ready_engine()
        assert self._bridge is not None  # noqa: S101 - set before the server starts
        stream = JobStream(request.job_id, self._bridge, give_up=self.engine.cancel)
        # Rendering a template and tokenising a long prompt take milliseconds: not on the loop.
        await asyncio.to_thread(self.engine.submit, request, stream)
        return stream

    def cancel(self, job_id: str) -> None:
        """End a job within one engine step; nothing happens where there is none."""
        self.engine.cancel(job_id)

    async def embed(self, inputs: list[str]) -> list[dict[str, Any]]:
        """One embedding for each input.

        Raises:
            RbeeError: the model gives none, or an input is too long.
        """
        results: list[dict[str, Any]] = []
        stream = await self.submit(
            ExecuteRequest(job_id=f"embed-{uuid.uuid4().hex}", workload="embedding", inputs=inputs)
        )
        async with asyncio.timeout(EMBED_TIMEOUT_S):
            while not stream.ended:
                await stream.wait(EMBED_TIMEOUT_S)
                for kind, values in stream.drain():
                    if kind == "error":
                        raise values[0]
                    if kind == "result":
                        results = values[0]
        return results

    def ready_engine(self) -> Engine:
        """The engine, where it can work.

        Raises:
            RbeeError: POOL_UNREADY while loading, stopping or failed.
        """
        if self._status != "ready":
            raise refused_now(self._status)
        return self.engine

    def health(self) -> WorkerHealth:
        """The answer to ``GET /health``; cheap enough to be asked every second."""
        common = {
            "status": self._status,
            "worker_id": self.worker_id,
            "model": self._model_id,
            "load_progress": self._progress,
            "uptime_s": self._clock.monotonic() - self._began,
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "error": self._error,
        }
        if self._status not in ("ready", "stopping") or self._progress < 1.0:
            return WorkerHealth.model_validate(common)
        stats = self.engine.stats()
        profile = self.engine.profile()
        return WorkerHealth.model_validate(
            {
                **common,
                "fingerprint": profile.fingerprint,
                "profile": profile,
                "slots": stats.slots,
                "slots_busy": stats.slots_busy,
                "queued": stats.queued,
                "context": stats.context,
                "device": stats.device,
                "offload": stats.offload,
                "memory": stats.memory,
                "kv_usage": stats.kv_usage,
                "step": stats.step,
                "tokens_out_total": stats.tokens_out_total,
                "tokens_per_s": stats.tokens_per_s,
            }
        )

    @property
    def loading(self) -> bool:
        """Whether the model is still being read."""
        return self._status == "loading"

    def metrics_text(self) -> str:
        """Prometheus text of the engine's counters."""
        return render(self.engine.stats()) if self._status == "ready" else ""

    def request_shutdown(self, drain_s: float) -> None:
        """Take no new jobs; exit when the running ones have ended or `drain_s` is over."""
        self._drain_s = drain_s
        self._status = "stopping"
        self._shutdown.set()

    async def _load(self) -> None:
        try:
            await asyncio.to_thread(self.engine.load, self._on_progress)
            self.engine.start()
        except RbeeError as error:
            self._status, self._error = "failed", f"{error.code}: {error.message}"
            raise
        if self._status == "loading":
            self._status, self._progress = "ready", 1.0
        self._log.info("ready", seconds=round(self._clock.monotonic() - self._began, 2))

    def _mourn(self, reason: str) -> None:
        """Without its engine a worker is of no use: its hive starts another."""
        self._died = reason
        self._status, self._error = "failed", f"INTERNAL: {reason}"
        self._shutdown.set()

    def _on_progress(self, fraction: float) -> None:
        # 1.0 belongs to a worker that can work: the context is still made behind the weights.
        self._progress = min(fraction, 0.99)

    async def _until_told(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(event.wait()) for event in (stop, self._shutdown)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        self._status = "stopping"
        await asyncio.to_thread(self.engine.drain, self._drain_s)

    async def _call_back(self, url: str) -> None:
        """Tell the hive that the model is ready; the hive may be restarting, so try again."""
        if self._callback_url is None:
            return
        ready = WorkerReady(
            worker_id=self.worker_id, url=url, pid=os.getpid(), health=self.health()
        )
        headers = version_headers()
        if self._callback_token:
            headers["Authorization"] = f"Bearer {self._callback_token}"
        timeout = aiohttp.ClientTimeout(total=CALLBACK_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for attempt in range(CALLBACK_ATTEMPTS):
                try:
                    async with session.post(self._callback_url, json=ready.dump()) as answer:
                        if answer.status < 300:
                            return
                        problem = f"answered {answer.status}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    problem = str(error) or type(error).__name__
                self._log.warning("callback failed", attempt=attempt + 1, problem=problem)
                await asyncio.sleep(min(2.0**attempt * 0.2, 10.0))


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[str], None], reason: str) -> None:
    """From another thread; a loop that is closed needs no telling."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, reason)
