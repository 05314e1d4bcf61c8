"""Child processes that outlive us: started in a session of their own, known again by start time.

A pid alone names nobody, since the system gives it to another process later; pid and start time
together do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAME_START_S = 1.5
"""Start times of one process as seen by different readers differ by clock ticks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, for as long as it lives."""

    pid: int
    started: float
    """Unix seconds."""

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a living process.

        Raises:
            ProcessLookupError: there is none.
        """
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error as error:
            raise ProcessLookupError(f"no process {pid}") from error

    def process(self) -> psutil.Process | None:
        """The process, unless it has ended or its pid was given away."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            same = abs(process.create_time() - self.started) < _SAME_START_S
        except psutil.Error:
            return None
        return process if same else None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process() is not None


def spawn(command: Sequence[str], *, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in its own session and process group, its output appended to `log`.

    Raises:
        OSError: it could not be started, or the log not opened.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            env=dict(env),
            start_new_session=True,
        )
    finally:
        os.close(fd)


def let_go(child: subprocess.Popen[bytes]) -> None:
    """Leave a running child to the next owner: its handle then warns of nothing when it goes."""
    child.returncode = 0


async def ended(identity: Identity, child: subprocess.Popen[bytes] | None = None) -> int | None:
    """Wait until a process has ended; by an event of the kernel where there is one.

    Args:
        identity: the process; it need not be a child of ours.
        child: its handle where it is one, so that it is reaped and its exit code known.

    Returns:
        The exit code of a child (negative: the signal that ended it), None for others.
    """
    try:
        fd = os.pidfd_open(identity.pid)
    except (AttributeError, OSError):
        process = identity.process()
        if process is not None:
            await asyncio.to_thread(psutil.wait_procs, [process])
    else:
        try:
            if identity.alive:
                await _readable(fd)
        finally:
            os.close(fd)
    return child.wait() if child is not None else None


async def stop(identity: Identity, *, grace_s: float, reaped: asyncio.Event | None = None) -> bool:
    """SIGTERM to the process group, `grace_s` seconds, then SIGKILL to all that is left of it.

    Args:
        identity: the leader of its process group.
        grace_s: seconds between the two.
        reaped: set by whoever waits for the process, where somebody does.

    Returns:
        Whether SIGTERM was enough.
    """
    if not identity.alive:
        return True
    _signal_group(identity, signal.SIGTERM)
    if await _gone(identity, grace_s, reaped):
        return True
    _signal_group(identity, signal.SIGKILL)
    await _gone(identity, 10.0, reaped)
    return False


def find_by_environment(name: str, value: str) -> list[psutil.Process]:
    """This user's processes that have `name` = `value` in their environment."""
    found = []
    for process in psutil.process_iter(["uids"]):
        uids = process.info["uids"]
        if uids is None or uids.real != os.getuid() or process.pid == os.getpid():
            continue
        try:
            if process.environ().get(name) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _signal_group(identity: Identity, number: int) -> None:
    try:
        os.killpg(identity.pid, number)
    except (ProcessLookupError, PermissionError):
        process = identity.process()
        if process is not None:
            process.send_signal(number)


async def _gone(identity: Identity, seconds: float, reaped: asyncio.Event | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            if reaped is not None:
                await reaped.wait()
            else:
                await ended(identity)
    except TimeoutError:
        return not identity.alive
    return True


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(fd)
