"""A bug of ours: where its traceback goes, since the terminal is no place for it."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

from rbee_agent import __version__


def write_crash(file: Path, at: float) -> str:
    """Add the exception in flight to the file, readable for its owner only; says where it is."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        with file.open("a", encoding="utf-8") as out:
            when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
            out.write(f"--- {when} rbee {__version__}\n{traceback.format_exc()}\n")
    except OSError as error:
        return f"its traceback could not be written: {error}"
    return f"the traceback is in {file}"
