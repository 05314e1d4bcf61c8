"""What ``~/.ssh/config`` names. What it says of a host is read by asyncssh (`rbee_agent.ssh`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DEEPEST: Final = 5
"""Files that include each other are followed so far; OpenSSH ends at 16."""


def names(config: Path | None = None) -> list[str]:
    """The names on its Host lines, patterns left out, Include files too (ssh_config(5)).

    Args:
        config: another file than the user's own.
    """
    found = _read(config or Path.home() / ".ssh" / "config", 0)
    return list(dict.fromkeys(found))


def _read(file: Path, depth: int) -> list[str]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[str] = []
    for line in lines:
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() == "host":
            found += [name for name in rest.split() if not set(name) & set("*?!")]
        elif word.lower() == "include" and depth < DEEPEST:
            for pattern in rest.split():
                base = Path(pattern).expanduser()
                where = base if base.is_absolute() else file.parent / base
                for one in sorted(where.parent.glob(where.name)):
                    found += _read(one, depth + 1)
    return found
