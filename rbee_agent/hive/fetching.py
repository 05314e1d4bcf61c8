"""What every source of model bytes is told, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Tell = Callable[[str, int, int | None], None]
"""Told the phase, the bytes done, and all bytes where they are known."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model that is whole."""

    path: Path
    brought: tuple[Path, ...] = ()
    """What rbee itself made for it and may delete again."""
    sha256: str | None = None
    """Its checksum, where the bytes were held against it on the way."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What every source needs to know."""

    name: str
    """The model's id; a folder of that name is its own."""
    folder: Path
    keep_free: int
    env: Mapping[str, str]
    tell: Tell
