"""This machine's own queen and hive: start them as daemons, find them again, end them.

Each daemon writes its own record (pid, start time, URL) once it listens; a record counts only
while the process that it names lives and is the one that wrote it. Nothing is killed whose start
time does not match.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rbee_agent.errors import EXIT_CONFLICT, Conflict, RbeeError
from rbee_agent.runtime import processes
from rbee_agent.runtime.files import read_json
from rbee_agent.runtime.processes import Identity
from rbee_agent.settings.places import Places

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
_LOOK_S = 0.05
_MAX_LOG = 10 * 1024 * 1024
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Agent:
    """A daemon of this user on this machine."""

    name: str
    module: tuple[str, ...]
    record: Path
    log: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that lives, as its record and the system agree."""

    name: str
    identity: Identity
    url: str
    version: str | None = None
    node_id: str | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid


def queen_agent(places: Places) -> Agent:
    """This user's queen."""
    return Agent("queen", ("rbee_agent.queen",), places.queen_record, places.logs / "queen.log")


def hive_agent(places: Places) -> Agent:
    """This machine's hive, of this user."""
    return Agent("hive", ("rbee_agent.hive", "serve"), places.hive_record, places.logs / "hive.log")


def running(agent: Agent) -> Running | None:
    """The daemon that the record names, if it lives."""
    record = read_json(agent.record)
    if record is None:
        return None
    try:
        found = Running(
            agent.name,
            Identity(int(record["pid"]), float(record["start_time"])),
            str(record["url"]),
            record.get("version"),
            record.get("node_id"),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.identity.alive else None


@contextmanager
def exclusive(places: Places) -> Iterator[None]:
    """Let one ``rbee up`` or ``rbee down`` of this user run at a time.

    Raises:
        Conflict: another one is at it.
    """
    places.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (places.runtime / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another `rbee up` or `rbee down` is running; wait for it") from None
        yield


async def start(
    agent: Agent, *, env: Mapping[str, str], timeout: float = START_TIMEOUT_S
) -> Running:
    """Start the daemon in a session of its own and wait until its record names it.

    Args:
        agent: what to start.
        env: its whole environment.
        timeout: seconds it may take to listen.

    Raises:
        Conflict: its port is in use (the daemon's own message says by whom).
        RbeeError: it ended or did not listen in time; the message has its last log lines.
    """
    offset = _open_log(agent.log)
    with agent.log.open("ab") as log:
        child = _Daemon(
            [sys.executable, "-P", "-m", *agent.module],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path.home(),
            env=dict(env),
        )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    # The system has no event for "this file is there" that needs no further package.
    try:
        while (code := child.poll()) is None and loop.time() < deadline:
            found = running(agent)
            if found is not None and _is_or_descends(found.pid, child.pid):
                return found
            await asyncio.sleep(_LOOK_S)
    except asyncio.CancelledError:
        await _end_child(child)
        raise
    if code is None:
        await _end_child(child)
        raise RbeeError(
            f"the {agent.name} did not listen within {timeout:g} s; its log says:\n"
            + _tail(agent.log, offset),
            code="DEADLINE_EXCEEDED",
        )
    said = _tail(agent.log, offset)
    message = f"the {agent.name} did not start (exit {code}):\n{said}"
    raise Conflict(message) if code == EXIT_CONFLICT else RbeeError(message)


class _Daemon(subprocess.Popen[bytes]):
    """A child that outlives us on purpose: dropping its handle is no mistake to warn of."""

    def __del__(self) -> None:
        return


async def _end_child(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        await asyncio.to_thread(child.wait, 5.0)
    except subprocess.TimeoutExpired:
        child.kill()
        await asyncio.to_thread(child.wait)


async def stop(found: Running, *, timeout: float = STOP_TIMEOUT_S) -> bool:
    """End a daemon: SIGTERM, then SIGKILL to its process group.

    Returns:
        Whether it ended by itself within `timeout` seconds.
    """
    gently = await processes.stop(found.identity, grace_s=timeout)
    with suppress(ChildProcessError):
        # Reaped, where it was started by this very process.
        os.waitpid(found.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
    return gently


async def end(found: list[psutil.Process], *, timeout: float) -> bool:
    """SIGTERM, wait, SIGKILL what is left; psutil refuses pids that changed hands."""
    for process in found:
        _signal(process, kill=False)
    _, alive = await asyncio.to_thread(psutil.wait_procs, found, timeout)
    for process in alive:
        _signal(process, kill=True)
    if alive:
        await asyncio.to_thread(psutil.wait_procs, alive, 5.0)
    return not alive


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return


def own_processes(env: Mapping[str, str]) -> list[psutil.Process]:
    """Every process of ours that has the folders of `env`: daemons and workers.

    They are known by their command line and by the folders in their environment, so that another
    fleet of the same user (a test, a second checkout) is left alone.
    """
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "uids"]):
        info: dict[str, Any] = process.info
        uids, words = info.get("uids"), info.get("cmdline") or []
        if uids is None or uids.real != os.getuid() or process.pid == os.getpid():
            continue
        if not is_daemon(words):
            continue
        try:
            theirs = process.environ()
        except psutil.Error:
            continue
        if theirs and all(theirs.get(name) == env.get(name) for name in _FOLDERS):
            found.append(process)
    return found


def is_daemon(words: Sequence[str]) -> bool:
    """Whether a command line is that of a queen, a hive that serves, or a worker.

    ``rbee-hive models download`` and ``llm-worker-rbee --probe`` are commands, not daemons.
    """
    for index, word in enumerate(words[:5]):
        if word in _MODULES or word.endswith(_SCRIPTS):
            rest = words[index + 1 :]
            if word == "rbee_agent.hive" or word.endswith("rbee-hive"):
                return "serve" in rest
            return "--probe" not in rest
    return False


_MODULES = ("rbee_agent.queen", "rbee_agent.hive", "rbee_agent.worker")
_FOLDERS = ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
_SCRIPTS = ("queen-rbee", "rbee-hive", "llm-worker-rbee")


def _is_or_descends(pid: int, ancestor: int) -> bool:
    """Whether the daemon that wrote the record is the one just started."""
    try:
        return pid == ancestor or any(p.pid == ancestor for p in psutil.Process(pid).parents())
    except psutil.Error:
        return False


def _open_log(path: Path) -> int:
    """Make the log's folder, put a log that grew too large aside; returns where we begin."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size > _MAX_LOG:
        path.replace(path.with_suffix(".log.1"))
        return 0
    return size


def _tail(path: Path, offset: int = 0) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read(_MAX_LOG).decode(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-_LOG_LINES:]) or "(nothing)"


def log_lines(path: Path, count: int) -> list[str]:
    """The last lines of a daemon's log; none where there is no log yet."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 256 * count - 65536))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
