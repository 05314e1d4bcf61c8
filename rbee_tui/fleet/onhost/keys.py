"""Lines in this user's authorized_keys: the queen's own comes and goes, all others stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rbee_tui.fleet.onhost import places


def allow(line: str) -> dict[str, Any]:
    """Put a line in, in place of one with the same comment (its last word)."""
    path = _file()
    made = not path.exists()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    kept = _without(before, line.rsplit(" ", 1)[-1])
    if kept and not kept.endswith("\n"):
        kept += "\n"
    _write(path, kept + line + "\n")
    return {"made": made}


def forbid(comment: str) -> dict[str, Any]:
    """Take the lines with that comment out; a file that holds nothing else goes too."""
    path = _file()
    if not path.exists():
        return {"removed": False}
    before = path.read_text()
    after = _without(before, comment)
    if after == before:
        return {"removed": False}
    if after.strip():
        _write(path, after)
    else:
        path.unlink()
    return {"removed": True}


def _without(text: str, comment: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.split()[-1:] != [comment])


def _write(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    fresh = path.with_name(f".{path.name}.rbee")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


def _file() -> Path:
    path = places.home() / ".ssh" / "authorized_keys"
    return path.resolve() if path.is_symlink() else path


def main(arguments: dict[str, Any]) -> int:
    """``allow`` a line or ``forbid`` a comment."""
    if arguments.get("allow"):
        return places.perform(lambda: allow(str(arguments["allow"])))
    return places.perform(lambda: forbid(str(arguments["forbid"])))
