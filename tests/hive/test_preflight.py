"""Looked at before a process starts; each refusal says what, why, and what to do."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.contracts.routes import WORKER_PORTS
from rbee_agent.contracts.workers import SpawnRequest
from rbee_agent.errors import Conflict, NotFound, RbeeError, Refused
from rbee_agent.hive import preflight
from tests.gguf_files import write_gguf
from tests.hive.conftest import Host


async def test_a_model_that_is_not_here(host: Host) -> None:
    """The near name, and the command that gets it."""
    with pytest.raises(NotFound, match=r"tinny is not on this host; did you mean tiny\?.*download"):
        await host.spawn(model="tinny")


async def test_a_file_that_was_cut_short(host: Host) -> None:
    """Its path and how long it should be."""
    path = Path(host.shelf.all()[0].path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(NotFound, match=r"tiny is gone or cut short: .*tiny\.gguf had \d+ bytes"):
        await host.spawn()


async def test_a_file_that_became_another_one(host: Host) -> None:
    """Same size, other bytes: refused by name before anything is started."""
    write_gguf(Path(host.shelf.all()[0].path), seed=2)

    with pytest.raises(Refused, match="not the file that tiny was registered with") as refusal:
        await host.spawn()

    assert refusal.value.code == "UNTRUSTED_ARTIFACT"
    assert host.starts == []


async def test_the_same_id_twice(host: Host) -> None:
    """A worker that is here is not started again."""
    await host.spawn(worker_id="mine")

    with pytest.raises(Conflict, match="worker mine is here already"):
        await host.spawn(worker_id="mine")


@pytest.mark.parametrize(
    "request_",
    [
        {"worker_id": "../../etc/passwd"},
        {"worker_id": ""},
        {"worker_id": "a\nb"},
        {"extra": {"host": "0.0.0.0"}},
        {"extra": {"model": "/etc/passwd"}},
    ],
)
async def test_names_that_would_become_paths_or_options(host: Host, request_: Any) -> None:
    """No id leaves its folder and no option replaces another; the value is not echoed."""
    with pytest.raises(Refused) as refusal:
        await host.spawn(**request_)

    assert "passwd" not in refusal.value.message
    assert host.starts == []


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"chat-template": "chatlm"}, "file on this host, or one of chatml, "),
        ({"chat-template": "/no/such.jinja"}, "file on this host, or one of chatml, "),
        ({"kv-type": "f12"}, "kv-type is one of .*f16"),
    ],
)
async def test_what_a_worker_would_refuse_at_its_start(
    host: Host, extra: dict[str, str], problem: str
) -> None:
    """Refused at the spawn, not found in a log of a process that ended."""
    with pytest.raises(Refused, match=problem):
        await host.spawn(extra=extra)

    assert host.starts == []


@pytest.mark.parametrize("named", ["chatml", "command-r", __file__])
def test_a_template_that_is_here(named: str) -> None:
    """A built-in name and a file of this host pass."""
    preflight.check_request(SpawnRequest(model="tiny", extra={"chat-template": named}))


async def test_a_full_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which folder, how much is free, how much it takes."""
    monkeypatch.setattr(preflight, "STATE_ROOM", 2**62)

    with pytest.raises(RbeeError, match=r"the disk of .*state is full: \d+ MiB are free"):
        await host.spawn()

    assert host.workers.infos() == []


async def test_a_port_that_somebody_has_is_passed_over(host: Host) -> None:
    """Another one of the range is taken."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", host.port))
        taken.listen()
        info = await host.ready()

    assert info.url is not None
    assert host.port < int(info.url.rpartition(":")[2]) < host.port + WORKER_PORTS


def test_when_no_port_is_free_its_holder_is_named() -> None:
    """The range, the process that has the first of it, and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        promised = set(range(first + 1, first + WORKER_PORTS))

        with pytest.raises(RbeeError) as refusal:
            preflight.choose_port(first, promised)

    assert f"{first} has python" in refusal.value.message
    assert f"(pid {os.getpid()})" in refusal.value.message
    assert "RBEE_HIVE_WORKER_PORT_FIRST" in refusal.value.message


async def test_ram_that_is_too_small(host: Host) -> None:
    """Needed, free, and how to need less; the CPU is refused just as a GPU."""
    with pytest.raises(RbeeError) as refusal:
        await host.spawn(context=2**40, slots=200)

    assert refusal.value.code == "INSUFFICIENT_VRAM"
    for word in ("200 slots", "needs about", "free are", "on cpu", "--ctx"):
        assert word in refusal.value.message
