"""Daemons of this machine: found by their record, started whole, ended for sure."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rbee_agent.errors import Conflict, RbeeError
from rbee_agent.runtime.processes import Identity
from rbee_agent.settings.places import Places
from rbee_tui.fleet import local

DAEMON = """
import json, os, signal, sys, time
import psutil

how, record = sys.argv[1:]
print("about to", how, flush=True)
if how == "refuse":
    sys.exit("port 8080 on 127.0.0.1 is in use by nginx (pid 9)")
if how == "conflict":
    print("port 8080 on 127.0.0.1 is in use by nginx (pid 9)", file=sys.stderr)
    sys.exit(7)
if how == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how != "mute":
    me = {"pid": os.getpid(), "start_time": psutil.Process().create_time(), "url": "http://x"}
    with open(record + ".new", "w") as file:
        json.dump(me, file)
    os.rename(record + ".new", record)
while True:
    signal.pause()
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[type[local.Agent]]:
    """A small daemon that behaves as told; whatever it left running is killed."""
    (tmp_path / "small_daemon.py").write_text(DAEMON)
    made: list[local.Agent] = []

    def make(how: str) -> local.Agent:
        record = tmp_path / "record.json"
        module = ("small_daemon", how, str(record))
        made.append(local.Agent("queen", module, record, tmp_path / "logs" / "queen.log"))
        return made[-1]

    yield make  # type: ignore[misc]
    for agent in made:
        found = local.running(agent)
        if found is not None:
            os.kill(found.pid, signal.SIGKILL)


def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


async def test_a_daemon_is_started_found_and_stopped(daemon, tmp_path: Path) -> None:
    """Start returns when the record is there; stop leaves no process."""
    agent = daemon("serve")
    started = await local.start(agent, env=env(tmp_path))

    assert local.running(agent) == started
    assert os.getsid(started.pid) == started.pid
    assert await local.stop(started)
    assert local.running(agent) is None
    assert not started.identity.alive


async def test_a_daemon_that_ignores_sigterm_is_killed(daemon, tmp_path: Path) -> None:
    """SIGTERM first; what is left after the time is killed, and that is told."""
    started = await local.start(daemon("deaf"), env=env(tmp_path))

    assert not await local.stop(started, timeout=0.3)
    assert not started.identity.alive


async def test_the_daemons_own_words_are_in_the_error(daemon, tmp_path: Path) -> None:
    """A port in use is a conflict with the daemon's message; another failure is a failure."""
    with pytest.raises(Conflict, match=r"in use by nginx \(pid 9\)") as conflict:
        await local.start(daemon("conflict"), env=env(tmp_path))
    with pytest.raises(RbeeError, match="in use by nginx") as failure:
        await local.start(daemon("refuse"), env=env(tmp_path))

    assert (conflict.value.exit_code, failure.value.exit_code) == (7, 1)


async def test_only_this_starts_log_lines_are_shown(daemon, tmp_path: Path) -> None:
    """What an earlier daemon wrote to the same log is not blamed on this one."""
    agent = daemon("refuse")
    agent.log.parent.mkdir()
    agent.log.write_text("an old sorrow\n")

    with pytest.raises(RbeeError) as caught:
        await local.start(agent, env=env(tmp_path))
    assert "an old sorrow" not in caught.value.message


async def test_a_daemon_that_never_listens_is_ended(daemon, tmp_path: Path) -> None:
    """Without a record in time the child is ended and its log is in the error."""
    agent = daemon("mute")

    with pytest.raises(RbeeError, match="about to mute") as caught:
        await local.start(agent, env=env(tmp_path), timeout=0.5)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert not [p for p in psutil.Process().children() if "small_daemon" in p.cmdline()]


async def test_an_interrupted_start_leaves_no_daemon(daemon, tmp_path: Path) -> None:
    """Ctrl-C while the daemon comes up ends the daemon too."""
    agent = daemon("mute")
    start = asyncio.ensure_future(local.start(agent, env=env(tmp_path)))
    while not agent.log.exists() or not agent.log.read_text():  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)
    start.cancel()

    with pytest.raises(asyncio.CancelledError):
        await start
    assert not [p for p in psutil.Process().children() if "small_daemon" in p.cmdline()]


def test_a_record_of_another_process_counts_for_nothing(daemon) -> None:
    """A pid that was given to another process since is not taken for the daemon."""
    agent = daemon("serve")
    me = psutil.Process()
    for record in (
        {"pid": me.pid, "start_time": me.create_time() - 100, "url": "http://x"},
        {"pid": 2**22 + 1, "start_time": 1.0, "url": "http://x"},
        {"pid": "none"},
    ):
        agent.record.write_text(json.dumps(record))
        assert local.running(agent) is None
    agent.record.write_text("half a rec")
    assert local.running(agent) is None


async def test_a_pid_that_changed_hands_is_not_killed() -> None:
    """Stop checks the start time: a stranger with the daemon's old pid lives on."""
    words = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(words) as stranger:  # noqa: ASYNC220
        try:
            theirs = psutil.Process(stranger.pid).create_time()
            old = local.Running("queen", Identity(stranger.pid, theirs - 50), "http://x")
            assert await local.stop(old)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_two_ups_at_once_are_refused(places: Places) -> None:
    """The second `rbee up` is told to wait instead of starting a second queen."""
    with local.exclusive(places):
        second = pytest.raises(Conflict, match="another `rbee up`")
        with second, local.exclusive(places):
            raise AssertionError("both got in")
    with local.exclusive(places):
        assert places.runtime.is_dir()


async def test_only_processes_with_these_folders_are_ours(tmp_path: Path) -> None:
    """A worker of another HOME is not swept away."""
    code = "import signal; signal.pause()"
    words = [sys.executable, "-c", code, "rbee_agent.worker"]
    homes = [tmp_path / name for name in ("ours", "theirs")]
    children = [
        subprocess.Popen(words, env={**os.environ, "HOME": str(home)})  # noqa: ASYNC220
        for home in homes
    ]
    try:
        await asyncio.sleep(0)
        found = local.own_processes({**os.environ, "HOME": str(homes[0])})
        assert [process.pid for process in found] == [children[0].pid]
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.parametrize(
    ("line", "daemon_or_not"),
    [
        ("python -P -m rbee_agent.queen", True),
        ("python -P -m rbee_agent.hive serve", True),
        ("python -m rbee_agent.hive models download smollm2-135m", False),
        ("python /home/me/.venv/bin/rbee-hive serve --port 9300", True),
        ("python /home/me/.venv/bin/rbee-hive status", False),
        ("python -m rbee_agent.worker --worker-id w --port 8001", True),
        ("python -m rbee_agent.worker --probe", False),
        ("python /home/me/.venv/bin/llm-worker-rbee --worker-id w", True),
        ("vim rbee_agent.worker.py", False),
        ("python -m rbee_agent.workerly", False),
    ],
)
def test_commands_are_not_taken_for_daemons(line: str, daemon_or_not: bool) -> None:
    """The sweep of `rbee down` ends daemons only: a download in another window goes on."""
    assert local.is_daemon(line.split()) == daemon_or_not


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew too large is kept once as .1, and a fresh one begins."""
    monkeypatch.setattr(local, "_MAX_LOG", 100)
    log = tmp_path / "queen.log"
    log.write_text("x" * 200)

    assert local._open_log(log) == 0
    assert (tmp_path / "queen.log.1").stat().st_size == 200
    assert local.log_lines(log, 5) == []
