"""``rbee hive …`` against real hosts, without a queen."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        return json.loads(self.out)


Rbee = Callable[..., Awaitable[Done]]


@pytest.fixture
def rbee(hermetic: Path, wheel_store) -> Rbee:
    """Run ``rbee ARGS`` as the operator whose key the hosts know; nobody's queen is near."""
    cache = hermetic / ".cache" / "rbee"
    cache.mkdir(parents=True)
    (cache / "wheels").symlink_to(wheel_store.folder)

    async def run(*words: str, stdin: str = "", timeout: float = 110.0) -> Done:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "rbee_tui", *words],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ) | {"RBEE_QUEEN_URL": "http://127.0.0.1:9"},
        )
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return run


async def test_from_add_to_uninstall(make_host, operator_key: str, rbee: Rbee) -> None:
    """Two commands bring a bare host to a running hive; uninstall leaves what was there before."""
    host = make_host("cmd")
    host.authorize(operator_key)
    before = host.listing()
    added = await rbee("hive", "add", f"ada@{host.address}", "--yes")
    assert added.code == 0, added.err
    assert "host key pinned" in added.out
    installed = await rbee("hive", "install", host.address, "--offline", "--json")
    assert installed.code == 0, installed.err
    result = installed.document()["hosts"][host.address]
    assert result["state"] == "running"
    examined = await rbee("hive", "doctor", "--json")
    assert examined.code == 0, examined.out
    status = (await rbee("hive", "status", "--json")).document()["hosts"][host.address]
    assert (status["state"], status["node_id"]) == ("running", result["node_id"])
    logs = await rbee("hive", "logs", host.address, "-n", "5")
    assert "127.0.0.1:9200" in logs.out, logs.err
    removed = await rbee("hive", "uninstall", host.address, "--yes")
    assert removed.code == 0, removed.err
    assert host.listing() == before
