"""The fingerprint that says "the same model file" in milliseconds, for any size of file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rbee_agent.models.gguf_header import read_layout
from rbee_agent.models.parts import parts

MIB = 1024 * 1024


def fingerprint(path: Path) -> str:
    """SHA-256 in hex over size, GGUF header, and the first and last MiB of the tensor data.

    Of a model in several files it is the SHA-256 over the fingerprints of all.

    Raises:
        Refused: a file is no GGUF, is cut short or missing.
    """
    found = [_of_file(part) for part in parts(path)]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _of_file(path: Path) -> str:
    layout = read_layout(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        left = layout.data_offset
        while left and (part := file.read(min(left, MIB))):
            digest.update(part)
            left -= len(part)
        digest.update(file.read(MIB))
        file.seek(max(layout.data_offset, size - MIB))
        digest.update(file.read(MIB))
    return digest.hexdigest()
