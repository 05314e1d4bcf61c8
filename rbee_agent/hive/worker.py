"""The life of one worker process: start, load, serve, crash, come back, stop.

One coroutine, `run`, owns a worker from its first start to its end; everybody else reads `info`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from rbee_agent.contracts.workers import WorkerHealth, WorkerInfo, WorkerState
from rbee_agent.errors import RbeeError
from rbee_agent.hive.child_env import environment, worker_device
from rbee_agent.hive.log_tail import last_lines, rotate
from rbee_agent.hive.records import Records, WorkerRecord
from rbee_agent.hive.restart import Backoff
from rbee_agent.observe import logs
from rbee_agent.runtime import processes
from rbee_agent.runtime.clock import Clock
from rbee_agent.wire.versions import version_headers

LOADING_LOOK_S = 0.25
READY_LOOK_S = 1.0
HEALTH_TIMEOUT_S = 2.0
SHUTDOWN_GRACE_S = 5.0
"""From a request to shut down to SIGTERM, beyond the time for draining."""
TERM_GRACE_S = 5.0
"""From SIGTERM to SIGKILL."""
LAST_LINES = 50


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended, or why it did not begin."""

    code: int | None = None
    problem: str | None = None


class HostedWorker:
    """One worker of this host."""

    def __init__(
        self,
        record: WorkerRecord,
        *,
        program: Sequence[str],
        records: Records,
        session: aiohttp.ClientSession,
        log: Path,
        choose_port: Callable[[], int],
        callback_url: str,
        callback_token: str,
        changed: Callable[[HostedWorker], None],
        clock: Clock,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            record: what is wanted, and the process that runs already if one does.
            program: the worker's command line without its options.
            records: where the record is kept.
            session: for calls to the worker.
            log: where its output goes.
            choose_port: a free port for a start.
            callback_url: where it says that it is ready.
            callback_token: what it says that with.
            changed: told whenever `info` is another.
            clock: of the machine.
        """
        self.record = record
        self.log = log
        self.news = asyncio.Event()
        """Set whenever `info` is another; for one waiter, who clears it."""
        self.device_bytes: int | None = None
        """What the GPU's driver says that its process holds; None: the driver does not say."""
        self._program = program
        self._records = records
        self._session = session
        self._choose_port = choose_port
        self._callback_url = callback_url
        self._callback_token = callback_token
        self._changed = changed
        self._clock = clock
        self._backoff = Backoff()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._drain_s = 0.0
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
        if state in (WorkerState.FAILED, WorkerState.CRASH_LOOPING, WorkerState.STOPPED):
            return 0
        if self.record.backend == "cpu":
            # A KV cache is taken page by page; pages of the model's file count as free memory.
            return max(0, self.record.memory_estimate - (self._private() or 0))
        if state in (WorkerState.STARTING, WorkerState.LOADING, WorkerState.BACKOFF):
            return max(0, self.record.memory_estimate - (self.device_bytes or 0))
        return 0

    async def look(self) -> None:
        """Ask it once how it is: an adopted one is known as ready before anybody asks us."""
        health = await self._ask()
        if health is not None:
            self._set(pid=self.record.pid, url=self.record.url)
            self._take(health)

    async def run(self) -> None:
        """Keep the worker running until `stop` is called or it is beyond help.

        A cancelled run leaves the process as it is, for the next owner.
        """
        try:
            while not self._stopping.is_set():
                end = await self._live_once()
                if self._stopping.is_set():
                    break
                wait = self._after_crash(end)
                if wait is None:
                    await self._stopping.wait()
                    break
                await self._until_stopping(wait)
            self._set(state=WorkerState.STOPPED)
        finally:
            self._stopped.set()

    async def stop(self, drain_s: float) -> None:
        """Let running jobs end within `drain_s`, then end the process; returns when it is gone."""
        self._drain_s = drain_s
        self._set(state=WorkerState.DRAINING if drain_s else WorkerState.STOPPING)
        self._stopping.set()
        await self._stopped.wait()

    def on_ready(self, health: WorkerHealth) -> None:
        """The worker called back."""
        self._take(health)

    async def _live_once(self) -> _End:
        """One process from start (or adoption) to end."""
        found = self.record.process
        child: subprocess.Popen[bytes] | None = None
        if found is None or not found.alive:
            try:
                child, found = self._start()
            except (OSError, RbeeError) as error:
                return _End(problem=f"it could not be started: {error}")
        if child is not None or self._info.state is not WorkerState.READY:
            self._set(
                state=WorkerState.LOADING,
                pid=found.pid,
                url=self.record.url,
                incarnation=self.record.incarnation,
                restart_at=None,
                load_progress=0.0,
            )
        try:
            return _End(code=await self._watch(found, child))
        except asyncio.CancelledError:
            if child is not None:
                processes.let_go(child)
            raise

    async def _watch(
        self, found: processes.Identity, child: subprocess.Popen[bytes] | None
    ) -> int | None:
        """Wait for the end of a process, or end it when `stop` is called; its exit code."""
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

    def _start(self) -> tuple[subprocess.Popen[bytes], processes.Identity]:
        """Start the process.

        Raises:
            OSError: the disk is full, or the system has no process left.
            Unavailable: no port is free.
        """
        rotate(self.log)
        port = self._choose_port()
        record = self.record
        command = [*self._program, "--worker-id", record.id]
        command += ["--model", record.path, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--device", worker_device(record)]
        if self._callback_url:
            command += ["--callback-url", self._callback_url]
        command += ["--ctx", str(record.context), "--slots", str(record.slots)]
        if record.threads is not None:
            command += ["--threads", str(record.threads)]
        for name, value in sorted(record.request.extra.items()):
            command += [f"--{name}"] if value == "true" else [f"--{name}", value]
        env = environment(record, os.environ, callback_token=self._callback_token)
        child = processes.spawn(command, env=env, log=self.log)
        try:
            found = processes.Identity.of(child.pid)
        except ProcessLookupError:
            # It ended within an instant; whoever waits for it learns how.
            found = processes.Identity(child.pid, self._clock.utc())
        self._keep(port=port, pid=found.pid, pid_started=found.started)
        return child, found

    async def _look(self) -> None:
        """Ask the worker how it is: often while it loads, then once a second for its gauges."""
        while True:
            ready = self._info.state is WorkerState.READY
            await asyncio.sleep(READY_LOOK_S if ready else LOADING_LOOK_S)
            if ready:
                await asyncio.to_thread(rotate, self.log)
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
            "memory_bytes": self._memory(health),
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

    def _memory(self, health: WorkerHealth) -> int | None:
        """Bytes that it holds of its device: by the driver, else by its own account."""
        if self.record.backend == "cpu":
            memory = self._of_process()
            return None if memory is None else int(memory.rss)
        return self.device_bytes or sum(health.memory.values()) or None

    def _private(self) -> int | None:
        """Bytes of RAM that nobody else could have."""
        memory = self._of_process()
        return None if memory is None else int(memory.rss) - int(getattr(memory, "shared", 0))

    def _of_process(self) -> Any:
        found = self.record.process
        process = found.process() if found is not None else None
        try:
            return None if process is None else process.memory_info()
        except psutil.Error:
            return None

    def _after_crash(self, end: _End) -> float | None:
        """Decide what follows an end that nobody asked for; seconds to wait, None: leave it."""
        lines = last_lines(self.log, LAST_LINES)
        refused = (
            end.problem is None
            and self._info.state is not WorkerState.READY
            and any(line.startswith("error: ") for line in lines[-3:])
        )
        error = end.problem or _reason(end.code, lines, refused=refused)
        facts = {
            "error": error,
            "last_log": lines,
            "pid": None,
            "slots_busy": 0,
            "url": None,
            "memory_bytes": None,
            "load_progress": None,
        }
        self.device_bytes = None
        self._keep(pid=None, pid_started=None, port=None)
        wait = None if refused else self._backoff.crashed(self._clock.monotonic())
        if wait is None:
            state = WorkerState.FAILED if refused else WorkerState.CRASH_LOOPING
            self._set(state=state, restart_at=None, **facts)
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
            async with asyncio.timeout(self._drain_s + SHUTDOWN_GRACE_S):
                async with self._session.post(
                    f"{self.record.url}/shutdown",
                    json={"drain_ms": round(self._drain_s * 1000)},
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S),
                ) as answer:
                    await answer.read()
                await reaped.wait()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._set(state=WorkerState.STOPPING)
            await processes.stop(found, grace_s=TERM_GRACE_S, reaped=reaped)

    async def _until_stopping(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _keep(self, **values: object) -> None:
        self.record = self.record.model_copy(update=values)
        try:
            self._records.write(self.record)
        except OSError as error:
            # The worker goes on; only a hive that starts anew would know it less well.
            logs.get("hive").warning("record not kept", worker=self.record.id, problem=str(error))

    def _set(self, **values: object) -> None:
        self._info = self._info.model_copy(update=values)
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self._changed(self)


def _reason(code: int | None, lines: Sequence[str], *, refused: bool) -> str:
    said = next((line for line in reversed(lines) if line.strip()), "")
    if refused:
        return said.removeprefix("error: ")
    how = "it ended" if code is None else f"signal {-code}" if code < 0 else f"exit {code}"
    return f"{how}; its last line: {said}" if said else f"{how}, and it said nothing"
