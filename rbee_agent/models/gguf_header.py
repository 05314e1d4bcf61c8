"""Walks a GGUF header without reading tensors: where its data begins, and whether it is whole.

The format is specified in ggml's docs/gguf.md. Only what the fingerprint and the first check need
is read here; everything a person wants to know of a file comes from the `gguf` package.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from rbee_agent.errors import Refused

MAGIC = b"GGUF"
_SCALAR_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class GgufLayout:
    """Where things lie in a GGUF file; offsets in bytes."""

    version: int
    tensor_count: int
    key_count: int
    data_offset: int
    last_tensor_offset: int
    """Where the last tensor begins, from the start of the file."""


def read_layout(path: Path) -> GgufLayout:
    """The layout of a GGUF file.

    Raises:
        Refused: no such file, no GGUF, or one that is cut short; names the file and the reason.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise Refused(f"{path.name} is no GGUF file: it does not begin with GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Walker(data).layout()
    except FileNotFoundError as error:
        raise Refused(f"there is no file {path}", code="MODEL_NOT_FOUND") from error
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: {error.strerror}") from error
    except (struct.error, IndexError, _TornError) as error:
        raise Refused(f"{path.name} is cut short or damaged: its header does not end") from error


class _TornError(Exception):
    """The header says something that cannot be."""


class _Walker:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def layout(self) -> GgufLayout:
        version, tensors, keys = self._unpack("<IQQ")
        if version not in (2, 3) or tensors > 10**6 or keys > 10**6:
            raise _TornError
        alignment = 32
        for _ in range(keys):
            name = self._string()
            kind = self._unpack("<I")[0]
            if name == b"general.alignment" and kind == 4:
                alignment = struct.unpack_from("<I", self._data, self._at)[0] or 32
            self._skip(kind)
        last = 0
        for _ in range(tensors):
            self._string()
            dimensions = self._unpack("<I")[0]
            if dimensions > _MAX_DIMENSIONS:
                raise _TornError
            self._at += 8 * dimensions
            _, offset = self._unpack("<IQ")
            last = max(last, offset)
        start = (self._at + alignment - 1) // alignment * alignment
        if start + last > len(self._data):
            raise _TornError
        return GgufLayout(version, tensors, keys, start, start + last)

    def _unpack(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _string(self) -> bytes:
        length = self._unpack("<Q")[0]
        if length > len(self._data):
            raise _TornError
        self._at += length
        return self._data[self._at - length : self._at]

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            inner, count = self._unpack("<IQ")
            if inner in _SCALAR_SIZES:
                self._at += _SCALAR_SIZES[inner] * count
            else:
                for _ in range(count):
                    self._skip(inner)
        elif kind in _SCALAR_SIZES:
            self._at += _SCALAR_SIZES[kind]
        else:
            raise _TornError
        if self._at > len(self._data):
            raise _TornError
