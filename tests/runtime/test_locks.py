"""A lock between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbee_agent.errors import Conflict
from rbee_agent.runtime.locks import held

HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(f"{os.getpid()}\\n")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def _other(path: Path) -> subprocess.Popen[bytes]:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    other.stdout.readline()
    return other


async def test_one_owner_at_a_time(tmp_path: Path) -> None:
    """Who waits in vain learns whose it is; a killed owner gives it back."""
    path = tmp_path / "deep" / "lock"
    async with held(path, timeout=1, what="it"):
        assert path.read_text() == f"{os.getpid()}\n"
    with _other(path) as other:
        with pytest.raises(Conflict, match=rf"it is in use by another process \(pid {other.pid}\)"):
            async with held(path, timeout=0.2, what="it"):
                pass
        other.kill()

    async with held(path, timeout=10, what="it"):
        assert path.read_text() == f"{os.getpid()}\n"
