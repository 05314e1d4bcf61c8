"""Filter and sort: which rows of a table, in which order. Pure, and the same for every noun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Selectable(Protocol):
    """What can be filtered and sorted."""

    @property
    def text(self) -> str:
        """What is searched."""
        ...

    @property
    def values(self) -> Sequence[float | str | None]:
        """What each column is sorted by."""
        ...


T = TypeVar("T", bound=Selectable)


@dataclass(frozen=True, slots=True)
class Filter:
    """Words that must all be there; `!word` must not; case does not matter."""

    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read what was typed behind `/`."""
        words = text.lower().split()
        return cls(
            tuple(word for word in words if not word.startswith("!")),
            tuple(word[1:] for word in words if word.startswith("!") and len(word) > 1),
        )

    def matches(self, text: str) -> bool:
        """Whether the text passes."""
        text = text.lower()
        return all(word in text for word in self.words) and not any(
            word in text for word in self.without
        )


def select(rows: Sequence[T], wanted: Filter, sort: tuple[int, bool] | None = None) -> list[T]:
    """The rows that pass, in order.

    Args:
        rows: in their natural order, which breaks ties.
        wanted: the filter.
        sort: column index and whether descending; None keeps the natural order.
    """
    passed = [row for row in rows if wanted.matches(row.text)]
    if sort is None:
        return passed
    at, descending = sort
    known = [row for row in passed if at < len(row.values) and row.values[at] is not None]
    unknown = [row for row in passed if at >= len(row.values) or row.values[at] is None]
    known.sort(key=lambda row: _order(row.values[at]), reverse=descending)
    return known + unknown


def _order(value: float | str | None) -> tuple[int, float, str]:
    """Numbers before words, words without regard to case."""
    if isinstance(value, str):
        return (1, 0.0, value.lower())
    return (0, float(value or 0.0), "")
