"""``rbee-hive``: the same records with the daemon and without it."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from rbee_agent.client.hive import HiveClient
from rbee_agent.contracts.workers import SpawnRequest
from rbee_agent.hive.commands.output import Progress
from rbee_agent.hive.commands.workers import spawn_and_wait
from rbee_agent.http.server import Server
from tests.gguf_files import write_gguf
from tests.hive.conftest import HiveProcess, Host
from tests.ports import own_port


@pytest.fixture
def bare(tmp_path: Path) -> HiveProcess:
    """A home where rbee has never run."""
    return HiveProcess(tmp_path / "home", worker_port=own_port(18441))


@pytest.mark.model
def test_a_worker_of_the_command_line_is_the_daemon_s_too(real_hive: HiveProcess) -> None:
    """Spawned without a daemon, adopted by it, stopped through it; one record all the way."""
    spawned = real_hive.document("worker", "spawn", "cpu", "--model", "demo", "--ctx", "256")
    assert spawned["state"] == "ready"
    assert "token" not in spawned
    (alone,) = real_hive.document("worker", "list")["workers"]
    assert (alone["id"], alone["pid"], alone["state"]) == (spawned["id"], spawned["pid"], "ready")
    used = real_hive.cli("models", "remove", "demo")
    assert used.returncode == 7
    assert f"rbee-hive worker stop {spawned['id']}" in used.stderr

    real_hive.start()

    (adopted,) = real_hive.document("worker", "list")["workers"]
    assert (adopted["id"], adopted["pid"]) == (spawned["id"], spawned["pid"])
    status = real_hive.document("status")
    assert status["url"] == real_hive.record["url"]
    assert all("token" not in worker for worker in status["workers"])
    assert [model["id"] for model in status["models"]] == ["demo"]
    assert real_hive.cli("models", "remove", "demo").returncode == 7
    through = real_hive.cli("worker", "spawn", "cpu", "--model", "demo", "--ctx", "256")
    assert through.returncode == 0, through.stderr
    assert "loading" in through.stderr
    assert len(real_hive.workers()) == 2
    for worker in real_hive.document("worker", "list")["workers"]:
        assert real_hive.cli("worker", "stop", worker["id"]).returncode == 0
    assert real_hive.workers() == []
    assert real_hive.document("worker", "list") == {"workers": []}


@pytest.mark.model
@pytest.mark.parametrize("daemon", [False, True])
def test_an_interrupted_spawn_leaves_no_worker(real_hive: HiveProcess, daemon: bool) -> None:
    """Ctrl-C while it loads: exit 130, no process, no record; with a daemon and without."""
    if daemon:
        real_hive.start()
    with subprocess.Popen(
        [sys.executable, "-m", "rbee_agent.hive", "worker", "spawn", "cpu", "--model", "demo"],
        env=real_hive.env,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 60
        while not real_hive.workers() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == 130
    assert real_hive.workers() == []
    assert real_hive.document("worker", "list") == {"workers": []}


async def test_a_spawn_left_before_it_was_answered_leaves_no_worker() -> None:
    """The daemon has the request and has not answered when its caller goes: it is taken back."""
    asked, ended = asyncio.Event(), asyncio.Event()
    named: list[str] = []

    async def spawn(request: web.Request) -> web.Response:
        named.append((await request.json())["worker_id"])
        asked.set()
        await ended.wait()
        return web.Response(status=503)

    async def stop(request: web.Request) -> web.Response:
        named.append(request.match_info["id"])
        ended.set()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/v1/workers", spawn)
    app.router.add_delete("/v1/workers/{id}", stop)
    server = Server(app, shutdown_timeout=0.1)
    await server.start("127.0.0.1", 0, choose="another")
    request = SpawnRequest(model="demo", worker_id="host-1.abcd")
    async with HiveClient(f"http://127.0.0.1:{server.port}", "token") as client:
        spawning = asyncio.create_task(spawn_and_wait(client, request, Progress()))
        await asked.wait()
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
    await server.close()
    assert named == ["host-1.abcd", "host-1.abcd"]


async def test_a_stop_waits_for_the_spawn_that_it_is_about(host: Host) -> None:
    """A worker that is just being started is stopped, not said to be unknown."""
    spawning = asyncio.create_task(host.spawn(worker_id="host-1.abcd"))
    await asyncio.sleep(0)
    assert host.workers.infos() == []
    await host.workers.stop("host-1.abcd")
    await spawning
    assert host.workers.infos() == []


def test_models_without_a_daemon(bare: HiveProcess, tmp_path: Path) -> None:
    """Register, list, show, verify, damage, remove: each says what it found, with its code."""
    path = write_gguf(tmp_path / "tiny.gguf", context=2048)

    assert bare.cli("models", "list").stdout.startswith("no models; get one with")
    registered = bare.document("models", "register", "tiny", str(path))
    shown = bare.document("models", "show", "tiny")
    verified = bare.document("models", "verify", "tiny")
    assert registered["facts"] == shown["facts"]
    facts = shown["facts"]
    assert (facts["architecture"], facts["quantization"], facts["context_length"]) == (
        "llama",
        "ALL_F32",
        2048,
    )
    assert (facts["layers"], facts["has_chat_template"]) == (2, False)
    assert verified["ok"] is True
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(b"!!")
    damaged = bare.cli("models", "verify", "tiny")
    assert damaged.returncode == 1
    assert "DAMAGED" in damaged.stdout
    assert bare.cli("models", "remove", "tiny").returncode == 0
    assert path.exists()
    assert bare.document("models", "list") == {"models": []}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["models", "show", "tiny"], 3, "tiny is not on this host"),
        (["models", "remove", "tiny"], 3, "tiny is not on this host"),
        (["models", "download", "smolm2-135"], 3, "did you mean smollm2-135m?"),
        (["models", "download", "https://x/y.zip"], 2, "names a .gguf file"),
        (["models", "register", "x", "/nowhere.gguf"], 3, "there is no file /nowhere.gguf"),
        (["worker", "stop", "none"], 3, "no worker none on this host; there are: none"),
        (["worker", "spawn", "cpu", "--model", "smol"], 3, "models download smol"),
        (["worker", "spawn", "cpu"], 2, "--model"),
        (["models"], 2, "ACTION"),
    ],
)
def test_what_cannot_be_done_says_so(
    bare: HiveProcess, words: list[str], code: int, says: str
) -> None:
    """Exit codes of the contract, and a sentence with what to do."""
    done = bare.cli(*words)

    assert (code, "") == (done.returncode, done.stdout)
    assert says in done.stderr


def test_a_log_cannot_drive_the_terminal(bare: HiveProcess, tmp_path: Path) -> None:
    """What a file or a name carries is text."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    done = bare.cli("models", "register", "x\x1b]0;owned\x07", str(bad))

    assert done.returncode == 2
    assert "\x1b" not in done.stderr + done.stdout
    assert "bad.gguf is no GGUF file" in done.stderr


def test_progress_on_a_terminal_is_one_line(bare: HiveProcess, tmp_path: Path) -> None:
    """Rewritten in place on a terminal; a line for each phase where there is none."""
    path = write_gguf(tmp_path / "tiny.gguf")
    plain = bare.cli("models", "register", "tiny", str(path))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "rbee_agent.hive", "models", "register", "again", str(path)]
    subprocess.run(words, env=bare.env, stderr=theirs, stdout=subprocess.DEVNULL, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert plain.stderr == "tiny: resolve\ntiny: register\n"
    assert shown.startswith("\r\x1b[Kagain: resolve")
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown
