"""A lock between processes: the file's owner is the process that holds it open."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rbee_agent.errors import Conflict

_TRY_S = 0.1


@asynccontextmanager
async def held(path: Path, *, timeout: float, what: str) -> AsyncIterator[None]:
    """Hold the lock of `path`; a process that is killed gives it back.

    Args:
        path: the lock's file; its folder is made where it is missing.
        timeout: seconds to wait for another process.
        what: what is locked, for the refusal.

    Raises:
        Conflict: another process holds it still; names that process.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _take(fd, path, timeout, what)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


async def _take(fd: int, path: Path, timeout: float, what: str) -> None:
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    # The kernel tells nobody when a file's lock is free.
                    await asyncio.sleep(_TRY_S)
    except TimeoutError:
        owner = path.read_text().strip() or "?"
        raise Conflict(f"{what} is in use by another process (pid {owner}); try again") from None
