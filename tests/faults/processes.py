"""Queens and workers as processes of their own, and lines between them that can go dark."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from rbee_agent.client.worker import WorkerClient
from rbee_agent.contracts.workers import WorkerHealth, WorkerInfo, WorkerState
from rbee_agent.errors import RbeeError

START_S = 90.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class QueenProcess:
    """``python -m rbee_agent.queen`` with a home of its own, on a port that stays the same."""

    def __init__(self, home: Path, *flags: str, files: int | None = None) -> None:
        """Prepare it; `files`: the most that it may open."""
        self._files = files
        self.port = free_port()
        self.home = home
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "queen.log"
        self._flags = flags
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start (again) and wait until she is ready."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
        }
        words = [sys.executable, "-m", "rbee_agent.queen", "--port", str(self.port), *self._flags]
        if self._files is not None:
            words = ["prlimit", f"--nofile={self._files}", *words]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *words, env=env, stdout=log, stderr=log
            )
        async with httpx.AsyncClient(base_url=self.url) as http, asyncio.timeout(START_S):
            while True:
                assert self.process.returncode is None, self.log.read_text()
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)

    async def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(15):
            return await self.process.wait()


class RealWorker:
    """``python -m rbee_agent.worker``; started where it does not run, and left running."""

    def __init__(self, worker_id: str, file: Path, home: Path) -> None:
        self.id = worker_id
        self.node_id = "node-1"
        self.model = "demo"
        self.token = f"token-of-{worker_id}-0123456789abcdef"
        self._file = file
        self._home = home
        self._health: WorkerHealth | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    async def __aenter__(self) -> RealWorker:
        if self.process is None or self.process.poll() is not None:
            self._start()
        async with WorkerClient(self.url, self.token) as client, asyncio.timeout(START_S):
            while True:
                assert self.process is not None
                assert self.process.poll() is None, (self._home / f"{self.id}.log").read_text()
                try:
                    self._health = await client.health(timeout=5.0)
                except RbeeError:
                    self._health = None
                if self._health is not None and self._health.status == "ready":
                    return self
                await asyncio.sleep(0.05)

    async def __aexit__(self, *_: object) -> None:
        """Let it go on after a SIGSTOP; the crew ends it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def _start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = {"PATH": os.environ["PATH"], "HOME": str(self._home), "RBEE_WORKER_TOKEN": self.token}
        words = [sys.executable, "-m", "rbee_agent.worker", "--worker-id", self.id]
        words += ["--model", str(self._file), "--port", str(port), "--threads", "1"]
        with (self._home / f"{self.id}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*words, "--ctx", "1024"], env=env, stdout=log, stderr=log
            )

    def info(self, state: WorkerState = WorkerState.READY) -> WorkerInfo:
        """As its hive would report it."""
        health = self._health
        assert health is not None
        return WorkerInfo(
            id=self.id,
            node_id=self.node_id,
            model=self.model,
            fingerprint=health.fingerprint,
            state=state,
            url=self.url,
            token=self.token,
            slots=health.slots,
            context=health.context,
            profile=health.profile,
        )

    async def health(self) -> WorkerHealth:
        """Its counters now."""
        async with WorkerClient(self.url, self.token) as client:
            return await client.health(timeout=20.0)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


class Crew:
    """Real workers that tests share: loading a model for each test would take all the time."""

    def __init__(self, files: dict[str, Path], home: Path) -> None:
        self._files = files
        self._home = home
        self._workers: dict[str, RealWorker] = {}

    def worker(self, model: str, number: int = 1) -> RealWorker:
        """The n-th worker of a model file; it is started when it is entered."""
        name = f"{model}-{number}"
        if name not in self._workers:
            self._workers[name] = RealWorker(name, self._files[model], self._home)
        return self._workers[name]

    def end(self) -> None:
        """Kill them all."""
        for worker in self._workers.values():
            worker.end()


class Line:
    """A worker behind a wire of the test's own: dark, it is half open, as when a host vanishes."""

    def __init__(self, worker: RealWorker) -> None:
        self.worker = worker
        self.id, self.model, self.node_id = worker.id, worker.model, worker.node_id
        self.dark = False
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Line:
        await self.worker.__aenter__()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self.worker.__aexit__()

    def info(self, state: WorkerState = WorkerState.READY) -> WorkerInfo:
        """The worker under this end's address."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return self.worker.info(state).model_copy(update={"url": f"http://127.0.0.1:{port}"})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(self.worker.url.rpartition(":")[2])
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        for one, other in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(one, other))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                if not self.dark:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            if not self.dark:
                writer.close()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own for a test, that can really be full; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
