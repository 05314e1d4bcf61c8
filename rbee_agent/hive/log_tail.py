"""Workers' logs: the last lines, and a size that stays bounded."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 5 * 1024 * 1024
_LINE = 400


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log; none where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - count * _LINE))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def rotate(path: Path) -> None:
    """Before a start: put a log aside that grew too large, keeping one old one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            path.replace(path.with_suffix(path.suffix + ".1"))
    except FileNotFoundError:
        return
