"""The token journal: one plain file a running task, a line a frame, written before it is sent.

No fsync: the journal must outlive the queen's process, not the power. Each line is a worker's
frame as it came, token ids included, so that another worker can go on behind the last one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rbee_agent.errors import Unavailable
from rbee_agent.wire.frames import ids_of

SUFFIX = ".ndjson"


class Journal:
    """The journal of one task; the file is made with its first line."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def append(self, lines: str) -> None:
        r"""Write whole lines, each ending in ``\n``.

        Raises:
            Unavailable: the disk is full or gone; the file ends with a whole line still.
        """
        try:
            if self._fd is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
            raw = lines.encode()
            written = os.write(self._fd, raw)
            if written != len(raw):
                os.truncate(self.path, os.fstat(self._fd).st_size - written)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise Unavailable(
                f"the queen cannot write a token journal: {error.strerror}",
                code="STORE_UNAVAILABLE",
                retry_after_ms=2000,
            ) from error

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Close and delete the file, once the store has what was in it."""
        self.close()
        self.path.unlink(missing_ok=True)

    def lines(self) -> list[str]:
        """The whole lines of the file; a line that a killed queen left half is cut off the disk."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = raw.rfind(b"\n") + 1
        if whole != len(raw):
            os.truncate(self.path, whole)
        # Not splitlines: text may hold other line separators, which JSON does not escape.
        return raw[:whole].decode(errors="replace").split("\n")[:-1]

    def token_ids(self) -> list[int]:
        """Every token id in the journal, in order."""
        return [token for line in self.lines() for token in ids_of(line)]


@dataclass(frozen=True, slots=True)
class Journals:
    """The folder of all journals (0700)."""

    folder: Path

    def of(self, job_id: str) -> Journal:
        """The journal of a task, whether or not there is a file yet."""
        return Journal(self.folder / (quote(job_id, safe="") + SUFFIX))

    def prepare(self) -> None:
        """Make the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sweep(self, keep: Iterable[str]) -> int:
        """Delete journals of tasks that are not in `keep`; how many they were."""
        names = {quote(job_id, safe="") + SUFFIX for job_id in keep}
        stale = [path for path in self.folder.glob(f"*{SUFFIX}") if path.name not in names]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


def pack(lines: list[str]) -> bytes | None:
    """Frames as the store keeps them; None where there are none."""
    return zlib.compress("\n".join(lines).encode(), 1) if lines else None


def unpack(frames: bytes | None) -> list[str]:
    """The lines that `pack` took."""
    return zlib.decompress(frames).decode().split("\n") if frames else []
