"""Identifiers: opaque, short, safe in a path, a log line and a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

IdFactory = Callable[[str], str]
"""Makes a new identifier from its kind's prefix; a parameter, so that tests can fix it."""

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: nothing that can be mistaken for something else."""

_PAIRS = [low + high for high in ALPHABET for low in ALPHABET]

_pool: list[bytes] = []

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_id(prefix: str) -> str:
    """A random identifier such as ``task-8k2m0q4v7x1c``: 60 random bits behind its kind."""
    # One call to the system for 512 ids: it costs more than all the rest of an id.
    if not _pool:
        raw = os.urandom(4096)
        _pool.extend(raw[start : start + 8] for start in range(0, len(raw), 8))
    bits = int.from_bytes(_pool.pop())
    return f"{prefix}-{''.join([_PAIRS[bits >> shift & 1023] for shift in range(0, 60, 10)])}"


def is_slug(value: str) -> bool:
    """Whether a caller's own identifier may stand in a path: 1 to 128 of ``A-Za-z0-9._-``."""
    return _SLUG.fullmatch(value) is not None
