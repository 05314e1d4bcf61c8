"""``rbee-hive models download`` against a hub: alone, and through a daemon that runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.gguf_files import write_gguf
from tests.hive.conftest import HiveProcess
from tests.models.hub_server import Hub, Repository
from tests.ports import own_port
from tests.waiting import eventually

REF = "org/tiny-GGUF:Q8_0"


@pytest.fixture
def hive(tmp_path: Path, hub: Hub) -> Iterator[HiveProcess]:
    """A home whose hub is the test's."""
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "RBEE_HIVE_KEEP_DISK_FREE": "0"}
    made = HiveProcess(tmp_path / "home", worker_port=own_port(18421), **env)
    yield made
    made.end()


async def start(hive: HiveProcess, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rbee_agent.hive",
        *words,
        env=hive.env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(hive: HiveProcess, *words: str) -> tuple[int | None, str, str]:
    process = await start(hive, *words)
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stderr is not None
    async for line in process.stderr:
        yield line.decode()


async def test_downloaded_alone_and_known_to_the_daemon(hive: HiveProcess, hub: Hub) -> None:
    """Progress on stderr, the result on stdout; a daemon that starts later has it."""
    code, out, errors = await run(hive, "models", "download", REF)

    phases = [line.removeprefix("org-tiny-GGUF-Q8_0: ").split()[0] for line in errors.splitlines()]
    assert (code, phases) == (0, ["resolve", "download", "register"]), errors
    name, path = out.split()
    assert Path(path) == next((hive.home / ".cache/huggingface/hub").rglob("*.gguf"))
    await asyncio.to_thread(hive.start)
    async with hive.client() as client:
        assert [file.id for file in await client.models()] == [name]


async def test_through_the_daemon_everybody_sees_it(hive: HiveProcess, hub: Hub) -> None:
    """The same command: the daemon fetches, and its readers are told of progress and result."""
    await asyncio.to_thread(hive.start)
    async with hive.client() as client:
        events = client.events()
        await anext(events)
        code, out, errors = await run(hive, "models", "download", REF, "--json")
        phases = []
        async for event in events:
            if event.event == "pull":
                phases.append(json.loads(event.data)["phase"])
            if phases[-1:] == ["done"]:
                break
        await events.aclose()

    assert code == 0, errors
    assert json.loads(out)["id"] == "org-tiny-GGUF-Q8_0"
    assert "download" in phases
    code, _, errors = await run(hive, "models", "download", "org/gated-GGUF:Q8_0")
    assert code == 4
    assert "accept its licence" in errors


async def test_killed_and_gone_on_with(hive: HiveProcess, hub: Hub) -> None:
    """SIGKILL in the middle leaves no half model; the same command asks for the rest."""
    big = write_gguf(hive.home / "big.gguf", rows=6000).read_bytes()
    hub.repositories["org/big-GGUF"] = Repository({"big-Q8_0.gguf": big})
    hub.gate = asyncio.Event()
    process = await start(hive, "models", "download", "org/big-GGUF")
    cache = hive.home / ".cache/huggingface"
    await eventually(lambda: any(p.stat().st_size for p in cache.rglob("*.rbee.incomplete")))
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    assert not list(cache.rglob("*.gguf"))
    hub.gate.set()

    code, _, errors = await run(hive, "models", "download", "org/big-GGUF")

    assert code == 0, errors
    assert hub.transfers()[-1].range is not None


@pytest.mark.parametrize(
    ("reference", "code", "says"),
    [
        ("org/gated-GGUF:Q8_0", 4, "set HF_TOKEN"),
        ("org/tiny-GGUF:Q9", 3, "there are BF16/tiny-BF16-00001-of-00003.gguf, tiny-F16.gguf"),
        ("org/none:Q8_0", 3, "no repository org/none"),
    ],
)
async def test_refusals_have_their_codes(
    hive: HiveProcess, reference: str, code: int, says: str
) -> None:
    """Not allowed, not found: as the contract counts them."""
    found, out, errors = await run(hive, "models", "download", reference)

    assert (found, out) == (code, "")
    assert says in errors
