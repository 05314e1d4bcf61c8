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
