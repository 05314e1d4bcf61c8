"""The theme that was chosen last: a name in a file of rbee's state, for the next start."""

from __future__ import annotations

from pathlib import Path

from rbee_agent.runtime.files import write_atomic


def remembered(path: Path) -> str | None:
    """The name that was chosen last; None where there is none to be read."""
    try:
        return path.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def remember(path: Path, name: str) -> None:
    """Keep a name for the next start.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, f"{name}\n", durable=False)
