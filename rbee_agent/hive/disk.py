"""Room on the disk, asked before a download begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from rbee_agent.errors import RbeeError


def check_room(folder: Path, need: int, *, keep_free: int) -> None:
    """See whether `need` bytes fit into `folder` with `keep_free` bytes to spare.

    Raises:
        RbeeError: they do not; names need, free and the reserve.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free - need < keep_free:
        raise RbeeError(
            f"not enough disk in {folder}: the model needs {gib(need)}, free are {gib(free)}, "
            f"and {gib(keep_free)} stay free (setting hive.keep_disk_free)",
            code="CONFLICT",
            details={"need": need, "free": free, "keep_free": keep_free},
        )


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1024**3:.2f} GiB"
