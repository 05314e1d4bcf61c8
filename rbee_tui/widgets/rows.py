"""Columns and rows of a `LiveTable`, and rows that are made only when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rbee_tui.widgets.tones import Cell, plain


@dataclass(frozen=True, slots=True)
class Column:
    """One column; widths are terminal columns."""

    key: str
    title: str
    width: int
    right: bool = False
    grow: int = 0
    """Share of the space that is left over; 0 keeps the width."""
    tail: bool = False
    """Where it is too narrow the end is shown: for text that grows."""
    drop: int = 0
    """Left out when there is no room, highest first; 0 always stays."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `cells` has one cell for each column, in their order."""

    key: str
    cells: tuple[Cell, ...]
    tone: str = ""
    """For cells that are plain text."""
    dim: bool = False
    """Draw the whole row as old: symbols and words stay, colours go."""
    about: tuple[str, str] | None = field(default=None, compare=False)
    """(noun, id) of what the row shows, where the key alone does not say it."""
    values: tuple[float | str | None, ...] = field(default=(), compare=False)
    """What each column is sorted by, where its text is not in order (`7.9G` and `512M`)."""

    @property
    def text(self) -> str:
        """All cells as one text, for searching."""
        return " ".join(plain(cell) for cell in self.cells)


class Rows:
    """Rows in their order, each made when it is first looked at.

    A fleet of thousands changes every second: what it costs to show is what is seen of it.
    """

    def __init__(self, keys: Iterable[str], make: Callable[[int], Row]) -> None:
        """Name the rows.

        Args:
            keys: of all rows, in their order.
            make: makes the row at an index of `keys`; called once for each that is looked at.
        """
        self.keys = tuple(keys)
        self._make = make
        self._made: dict[int, Row] = {}

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """Rows that are made already."""
        return cls([row.key for row in rows], rows.__getitem__)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, at: int) -> Row:
        at = at + len(self.keys) if at < 0 else at
        row = self._made.get(at)
        if row is None:
            if at >= len(self.keys):
                raise IndexError(at)
            row = self._made[at] = self._make(at)
        return row

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self.keys)))

    @cached_property
    def index(self) -> dict[str, int]:
        """Where each key is."""
        return {key: at for at, key in enumerate(self.keys)}
