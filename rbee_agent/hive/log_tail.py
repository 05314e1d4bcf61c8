"""Workers' logs: the last lines, and sizes and numbers that stay bounded."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

MAX_BYTES = 5 * 1024 * 1024
KEPT_S = 7 * 24 * 3600.0
"""How long the log of a worker that is no more is kept; seconds."""
_BLOCK = 64 * 1024


def log_of(folder: Path, worker_id: str) -> Path:
    """Where a worker's output goes."""
    return folder / f"worker-{worker_id}.log"


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log; none where there is none."""
    found = b""
    try:
        with path.open("rb") as file:
            at = file.seek(0, 2)
            while at and found.count(b"\n") <= count:
                step = min(_BLOCK, at)
                at -= step
                file.seek(at)
                found = file.read(step) + found
    except OSError:
        return []
    return found.decode(errors="replace").splitlines()[-count:] if count else []


def rotate(path: Path) -> None:
    """Put a log aside that grew too large, keeping one old one, also while it is written to.

    Its writer appends, so it goes on at the beginning of the emptied file.
    """
    try:
        if path.stat().st_size <= MAX_BYTES:
            return
        old = path.with_suffix(path.suffix + ".1")
        shutil.copyfile(path, old)
        old.chmod(0o600)
        with path.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return


def prune(folder: Path, keep: Collection[Path], *, now: float) -> None:
    """Remove the logs of workers that are long gone.

    Args:
        folder: where logs lie.
        keep: logs of workers that are there.
        now: Unix seconds.
    """
    for path in folder.glob("worker-*.log*"):
        current = path.with_suffix("") if path.suffix == ".1" else path
        if current not in keep and now - path.stat().st_mtime > KEPT_S:
            path.unlink(missing_ok=True)
