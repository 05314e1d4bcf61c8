"""A queen before a worker that computes nothing, each in a process: for several benchmarks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_UPSTREAM = Path(__file__).parent / "_upstream.py"


@dataclass(frozen=True)
class Bench:
    """What runs."""

    home: Path
    upstream: int
    """The worker's port."""
    port: int
    """The queen's."""
    queen: subprocess.Popen[bytes]


@contextlib.contextmanager
def running(*, slots: int | None = None) -> Iterator[Bench]:
    """Start both, and end both; `slots`: of the worker, else as many as it likes."""
    home = Path(tempfile.mkdtemp(prefix="rbee-bench-"))
    upstream = free_port()
    words = [
        sys.executable,
        str(_UPSTREAM),
        str(upstream),
        *([] if slots is None else [str(slots)]),
    ]
    children = [subprocess.Popen(words)]
    try:
        time.sleep(0.5)
        queen, port = _start_queen(home, upstream)
        children.append(queen)
        yield Bench(home, upstream, port, queen)
    finally:
        for child in reversed(children):
            child.send_signal(signal.SIGTERM)
            child.wait(10)
        shutil.rmtree(home, ignore_errors=True)


def _start_queen(home: Path, upstream: int) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "ORCHD_WORKERS": f"rbee+http://127.0.0.1:{upstream}",
    }
    log = (home / "queen.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "rbee_agent.queen", "--port", str(port), "--queue-limit", "1000000"],
        env=env,
        stdout=log,
        stderr=log,
    )
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/workers") as reply:
                if b'"ready"' in reply.read():
                    return process, port
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the queen did not start: " + (home / "queen.log").read_text())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
