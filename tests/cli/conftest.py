"""``rbee`` as a process of its own, against a scripted queen over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rbee_agent.testing.scripted_queen import ScriptedQueen

TIMEOUT_S = 30.0


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Rbee = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedQueen]:
    """A running scripted queen."""
    queen = ScriptedQueen()
    await queen.start()
    try:
        yield queen
    finally:
        queen.release.set()
        await queen.stop()


@pytest.fixture
def rbee(scripted: ScriptedQueen) -> Rbee:
    """Run ``rbee ARGS``; the queen it finds is the scripted one."""

    async def run(
        *args: str,
        stdin: str = "",
        interrupt_after: str | None = None,
        **env: str,
    ) -> Outcome:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rbee_tui",
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "RBEE_QUEEN_URL": scripted.url, **env},
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                seen = b""
                if interrupt_after is not None:
                    assert process.stdout is not None
                    seen = await process.stdout.readexactly(len(interrupt_after.encode()))
                    process.send_signal(signal.SIGINT)
                out, err = await process.communicate(stdin.encode())
                out = seen + out
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Outcome(process.returncode, out.decode(), err.decode())

    return run
