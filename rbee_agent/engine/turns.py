"""Whose turn it is, and who should move together: the scheduler's decisions as pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, TypeVar

PATIENCE = 8
"""Steps that a long prompt lets shorter ones go first."""
ROOM = 1.5
"""Chunks that a step reads at most: with the decode behind them, no stream waits two chunks."""


class Reader(Protocol):
    """A job that still reads."""

    @property
    def unread(self) -> int:
        """Tokens left to read."""

    @property
    def passed_over(self) -> int:
        """Steps in which others were chosen since its last turn."""

    @property
    def replaying(self) -> bool:
        """Whether it is fed known tokens, in calls that take a chunk's time in all."""


ReaderT = TypeVar("ReaderT", bound=Reader)


def readers_of_step(readers: Iterable[ReaderT], chunk: int) -> list[ReaderT]:
    """Who reads a chunk in the next step: those soonest done, or who was passed over too often.

    Shortest remaining time first keeps a short question from waiting behind a long document.
    Ends of prompts that take less than a chunk read together: a decode between each two of them
    would be one of few rows, at the price of many.

    Args:
        readers: all that wait to read.
        chunk: tokens that one of them reads at most.

    Returns:
        At least one, where there is one; each call is still for one of them alone.
    """

    def turn(reader: ReaderT) -> tuple[int, int]:
        late = reader.passed_over if reader.passed_over >= PATIENCE else 0
        return -late, reader.unread

    chosen: list[ReaderT] = []
    room = ROOM * chunk
    for reader in sorted(readers, key=turn):
        cost = chunk if reader.replaying else min(reader.unread, chunk)
        if chosen and cost > room:
            break
        chosen.append(reader)
        room -= cost
    return chosen


def calls(active: Iterable[int], strict: Collection[int], width: int) -> list[list[int]]:
    """Which sequences decode in which call.

    A strict one shares a call with at most `width` in all, and only with neighbours: llama.cpp
    computes others of the same call apart, each then in the shape of a lone row.

    Args:
        active: ids that decode.
        strict: those of them whose bits must not change.
        width: so many rows in one call are proved to be like one alone.
    """
    ids = sorted(active)
    if not strict:
        return [ids] if ids else []
    if len(ids) <= width:
        return _neighbours(ids)
    loose = [seq for seq in ids if seq not in strict]
    exact = [
        run[start : start + width]
        for run in _neighbours([seq for seq in ids if seq in strict])
        for start in range(0, len(run), width)
    ]
    return [*([loose] if loose else []), *exact]


def _neighbours(ids: Sequence[int]) -> list[list[int]]:
    """Ascending ids cut where they are not consecutive."""
    runs: list[list[int]] = []
    for seq in ids:
        if runs and runs[-1][-1] == seq - 1:
            runs[-1].append(seq)
        else:
            runs.append([seq])
    return runs


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
