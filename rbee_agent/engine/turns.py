"""Whose turn it is, and who should move together: the scheduler's decisions as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

PATIENCE = 8
"""Steps that a long prompt lets shorter ones go first."""


class Reader(Protocol):
    """A job that still reads."""

    @property
    def unread(self) -> int:
        """Tokens left to read."""

    @property
    def passed_over(self) -> int:
        """Steps in which another was chosen since its last turn."""


ReaderT = TypeVar("ReaderT", bound=Reader)


def next_reader(readers: Sequence[ReaderT]) -> ReaderT | None:
    """Who reads its next chunk: the one soonest done, unless somebody was passed over too often.

    Shortest remaining time first keeps a short question from waiting behind a long document.
    """
    if not readers:
        return None
    patient = max(readers, key=lambda reader: reader.passed_over)
    if patient.passed_over >= PATIENCE:
        return patient
    return min(readers, key=lambda reader: reader.unread)


def closing_move(active: Sequence[int], free: Sequence[int]) -> tuple[int, int] | None:
    """One move that brings sequence ids closer to being consecutive.

    llama.cpp computes one batch only for consecutive ascending ids, else one after the other.

    Args:
        active: ids that decode.
        free: ids that nobody holds.

    Returns:
        From which id to which, or None where they are consecutive or cannot be made so.
    """
    ids = sorted(active)
    width = len(ids)
    if width < 2 or ids[-1] - ids[0] == width - 1:
        return None
    usable = set(ids) | set(free)
    windows = [
        range(start, start + width)
        for start in sorted(usable)
        if usable.issuperset(range(start, start + width))
    ]
    if not windows:
        return None
    best = max(windows, key=lambda window: sum(1 for one in ids if one in window))
    holes = [seq for seq in best if seq not in ids]
    return next(one for one in reversed(ids) if one not in best), holes[0]
