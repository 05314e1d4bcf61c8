"""A queen as a process of her own, so that she can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from rbee_agent.client.worker import WorkerClient
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.errors import RbeeError
from rbee_agent.testing.hive import FakeHive


class QueenProcess:
    """``python -m rbee_agent.queen`` with a home of its own, on a port that stays the same."""

    def __init__(self, home: Path, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
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
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "rbee_agent.queen",
                "--port",
                str(self.port),
                *self._flags,
                env=env,
                stdout=log,
                stderr=log,
            )
        async with httpx.AsyncClient(base_url=self.url) as http, asyncio.timeout(20):
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
    """``python -m rbee_agent.worker``; can be killed and stopped."""

    def __init__(self, worker_id: str, model: Path, home: Path, *flags: str) -> None:
        self.id = worker_id
        self.node_id = "node-1"
        self.model = "demo"
        self.token = f"token-of-{worker_id}-0123456789abcdef"
        self._file = model
        self._home = home
        self._flags = flags
        self._health = None
        self.process: asyncio.subprocess.Process | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> RealWorker:
        env = {"PATH": os.environ["PATH"], "HOME": str(self._home), "RBEE_WORKER_TOKEN": self.token}
        log = (self._home / f"{self.id}.log").open("wb")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rbee_agent.worker",
            "--worker-id",
            self.id,
            "--model",
            str(self._file),
            "--port",
            str(self.port),
            "--threads",
            "1",
            "--ctx",
            "1024",
            *self._flags,
            env=env,
            stdout=log,
            stderr=log,
        )
        log.close()
        async with WorkerClient(self.url, self.token) as client, asyncio.timeout(60):
            while True:
                assert self.process.returncode is None, (self._home / f"{self.id}.log").read_text()
                try:
                    self._health = await client.health(timeout=1.0)
                except RbeeError:
                    self._health = None
                if self._health is not None and self._health.status == "ready":
                    return self
                await asyncio.sleep(0.1)

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

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

    async def health(self):
        """Its counters now."""
        async with WorkerClient(self.url, self.token) as client:
            return await client.health()

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)


@pytest.fixture
async def queen_process(tmp_path: Path) -> AsyncIterator[QueenProcess]:
    """A running queen process; killed at the end of the test."""
    made = QueenProcess(tmp_path, "--queue-limit", "100000")
    await made.start()
    yield made
    await made.end()


@pytest.fixture
async def hive() -> AsyncIterator[FakeHive]:
    """A simulated host with the model ``demo``."""
    async with FakeHive() as made:
        yield made


@pytest.fixture
def real_worker(demo_model: Path, tmp_path: Path):
    """Makes real workers: ``real_worker("w1")`` is an async context manager."""
    return lambda worker_id, *flags: RealWorker(worker_id, demo_model, tmp_path, *flags)
