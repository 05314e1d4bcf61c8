"""The life of one worker process: start, load, serve, crash, come back, stop.

One coroutine, `run`, owns a worker from its first start to its end; everybody else reads `info`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp

from rbee_agent.contracts.workers import WorkerHealth, WorkerInfo, WorkerState
from rbee_agent.hive.log_tail import last_lines, rotate
from rbee_agent.hive.records import Records, WorkerRecord
from rbee_agent.hive.restart import Backoff
from rbee_agent.runtime import processes
from rbee_agent.runtime.clock import Clock
from rbee_agent.wire.versions import version_headers

LOADING_LOOK_S = 0.25
READY_LOOK_S = 1.0
HEALTH_TIMEOUT_S = 2.0
TERM_GRACE_S = 5.0
LAST_LINES = 50

_PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "CUDA_VISIBLE_DEVICES")
_PASSED_PREFIXES = ("XDG_", "GGML_", "OMP_", "HSA_", "ROCM_", "VK_")


class HostedWorker:
    """One worker of this host."""

    def __init__(
        self,
        record: WorkerRecord,
        *,
        records: Records,
        session: aiohttp.ClientSession,
        log: Path,
        choose_port: Callable[[], int],
        callback_url: str,
        callback_token: str,
        changed: Callable[[HostedWorker], None],
        clock: Clock,
    ) -> None:
        """Prepare; nothing is started yet. `changed` is told whenever `info` is another."""
        self.record = record
        self.log = log
        self.news = asyncio.Event()
        """Set whenever `info` is another; for one waiter, who clears it."""
        self._records = records
        self._session = session
        self._choose_port = choose_port
        self._callback_url = callback_url
        self._callback_token = callback_token
        self._changed = changed
        self._clock = clock
        self._backoff = Backoff()
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._drain_s = 0.0
        self._health: WorkerHealth | None = None
        self._info = WorkerInfo(
            id=record.id,
            node_id=record.node_id,
            model=record.model,
            fingerprint=record.fingerprint,
            state=WorkerState.STARTING,
            backend=record.backend,
            device=record.device,
            context=record.context,
            slots=record.slots,
            memory_estimate=record.memory_estimate,
            incarnation=record.incarnation,
            restarts=record.restarts,
            started_at=record.started_at,
            token=record.token,
        )

    @property
    def info(self) -> WorkerInfo:
        """How it is now."""
        return self._info

    @property
    def reserved(self) -> int:
        """Bytes leased to it that it has not taken yet."""
        state = self._info.state
        done = (WorkerState.READY, WorkerState.DRAINING, WorkerState.FAILED)
        if state in done or state is WorkerState.CRASH_LOOPING:
            return 0
        return max(0, self.record.memory_estimate - (self._info.memory_bytes or 0))

    async def run(self) -> None:
        """Keep the worker running until `stop` is called or it is beyond help."""
        try:
            while not self._stopping.is_set():
                code = await self._live_once()
                if self._stopping.is_set():
                    break
                wait = self._after_crash(code)
                if wait is None:
                    await self._stopping.wait()
                    break
                await self._until_stopping(wait)
        finally:
            self._set(state=WorkerState.STOPPED)
            self._stopped.set()

    async def stop(self, drain_s: float) -> None:
        """Let running jobs end within `drain_s`, then end the process; returns when it is gone."""
        self._drain_s = drain_s
        self._set(state=WorkerState.STOPPING)
        self._stopping.set()
        await self._stopped.wait()

    def on_ready(self, health: WorkerHealth) -> None:
        """The worker called back."""
        self._take(health)

    async def _live_once(self) -> int | None:
        """One process from start (or adoption) to end; its exit code where it is known."""
        found = self.record.process
        child: subprocess.Popen[bytes] | None = None
        if found is None or not found.alive:
            child = self._start()
            found = self.record.process
        assert found is not None  # noqa: S101 - just started
        self._set(
            state=WorkerState.LOADING,
            pid=found.pid,
            url=self.record.url,
            incarnation=self.record.incarnation,
            restart_at=None,
        )
        reaped = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(processes.ended(found, child))
            ending.add_done_callback(lambda _: reaped.set())
            looking = group.create_task(self._look())
            stopping = group.create_task(self._stopping.wait())
            await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            if not ending.done():
                await self._end_process(found, reaped)
            stopping.cancel()
        return ending.result()

    def _start(self) -> subprocess.Popen[bytes]:
        rotate(self.log)
        port = self._choose_port()
        record = self.record
        command = [sys.executable, "-m", "rbee_agent.worker", "--worker-id", record.id]
        command += ["--model", record.path, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--callback-url", self._callback_url, "--device", record.device]
        command += ["--ctx", str(record.context), "--slots", str(record.slots)]
        if record.threads is not None:
            command += ["--threads", str(record.threads)]
        for name, value in sorted(record.request.extra.items()):
            command += [f"--{name}"] if value == "true" else [f"--{name}", value]
        child = processes.spawn(command, env=self._environment(), log=self.log)
        identity = processes.Identity.of(child.pid)
        self._keep(port=port, pid=identity.pid, pid_started=identity.started)
        return child

    def _environment(self) -> dict[str, str]:
        env = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
        }
        return env | {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "RBEE_WORKER_TOKEN": self.record.token,
            "RBEE_CALLBACK_TOKEN": self._callback_token,
            "RBEE_MODEL_ID": self.record.model,
            "RBEE_NODE_ID": self.record.node_id,
        }

    async def _look(self) -> None:
        """Ask the worker how it is: often while it loads, then once a second for its gauges."""
        while True:
            ready = self._info.state is WorkerState.READY
            await asyncio.sleep(READY_LOOK_S if ready else LOADING_LOOK_S)
            health = await self._ask()
            if health is not None:
                self._take(health)

    async def _ask(self) -> WorkerHealth | None:
        headers = {"Authorization": f"Bearer {self.record.token}", **version_headers()}
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
        try:
            async with self._session.get(
                f"{self.record.url}/health", headers=headers, timeout=timeout
            ) as answer:
                return WorkerHealth.read_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    def _take(self, health: WorkerHealth) -> None:
        if health.worker_id != self.record.id or self._stopping.is_set():
            return
        before = self._info
        fresh = health.status == "ready" and before.state is not WorkerState.READY
        values: dict[str, object] = {
            "load_progress": health.load_progress,
            "memory_bytes": self._resident(),
            "slots_busy": health.slots_busy,
            "tokens_per_s": health.tokens_per_s,
            "tokens_out_total": health.tokens_out_total,
            "kv_usage": health.kv_usage,
        }
        if health.status == "ready":
            values |= {
                "state": WorkerState.READY,
                "ready_at": self._clock.utc() if fresh else before.ready_at,
                "slots": health.slots,
                "context": health.context,
                "fingerprint": health.fingerprint,
                "profile": health.profile,
                "version": health.version,
                "error": None,
                "last_log": [],
            }
        self._info = before.model_copy(update=values)
        moved = not fresh and before.load_progress != health.load_progress
        if fresh or moved or before.profile != self._info.profile:
            self._tell()

    def _resident(self) -> int | None:
        found = self.record.process
        process = found.process() if found is not None else None
        return None if process is None else int(process.memory_info().rss)

    def _after_crash(self, code: int | None) -> float | None:
        """Decide what follows an end that nobody asked for; seconds to wait, None: leave it."""
        lines = last_lines(self.log, LAST_LINES)
        refused = self._info.state is not WorkerState.READY and any(
            line.startswith("error: ") for line in lines[-3:]
        )
        how = "it ended" if code is None else f"signal {-code}" if code < 0 else f"exit {code}"
        said = next((line for line in reversed(lines) if line.strip()), "")
        error = said.removeprefix("error: ") if refused else f"{how}; its last line: {said}"
        facts = {"error": error, "last_log": lines, "pid": None, "slots_busy": 0, "url": None}
        self._keep(pid=None, pid_started=None, port=None)
        wait = None if refused else self._backoff.crashed(self._clock.monotonic())
        if wait is None:
            state = WorkerState.FAILED if refused else WorkerState.CRASH_LOOPING
            self._set(state=state, **facts)
            return None
        self._keep(incarnation=self.record.incarnation + 1, restarts=self.record.restarts + 1)
        self._set(
            state=WorkerState.BACKOFF,
            restart_at=self._clock.utc() + wait,
            restarts=self.record.restarts,
            **facts,
        )
        return wait

    async def _end_process(self, found: processes.Identity, reaped: asyncio.Event) -> None:
        """Ask it to drain and exit; insist with SIGTERM, end it with SIGKILL."""
        headers = {"Authorization": f"Bearer {self.record.token}", **version_headers()}
        try:
            async with asyncio.timeout(self._drain_s + TERM_GRACE_S):
                async with self._session.post(
                    f"{self.record.url}/shutdown",
                    json={"drain_ms": round(self._drain_s * 1000)},
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S),
                ) as answer:
                    await answer.read()
                await reaped.wait()
        except (aiohttp.ClientError, TimeoutError, OSError):
            await processes.stop(found, grace_s=TERM_GRACE_S, reaped=reaped)

    async def _until_stopping(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _keep(self, **values: object) -> None:
        self.record = self.record.model_copy(update=values)
        self._records.write(self.record)

    def _set(self, **values: object) -> None:
        self._info = self._info.model_copy(update=values)
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self._changed(self)
