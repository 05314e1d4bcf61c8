"""Facts: labels and what is to be said of one thing, wrapped to the width there is."""

from __future__ import annotations

from collections.abc import Sequence

from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.rows import Column, Row
from rbee_tui.widgets.token_view import wrap
from rbee_tui.widgets.tones import Cell, pieces, plain, width_of

LABEL = 13
"""Columns for the labels."""
NARROWEST = 20

Fact = tuple[str, Cell]
"""A label and what is to be said; without a label it belongs to the one before."""


class Facts(LiveTable):
    """A table without a header whose long cells take several lines."""

    def __init__(self, *, empty: str = "nothing is selected", id: str | None = None) -> None:
        columns = (Column("label", "", LABEL), Column("fact", "", NARROWEST, grow=1))
        super().__init__(columns, header=False, empty=empty, id=id)
        self._facts: tuple[Fact, ...] = ()
        self._dim = False

    def show_facts(self, facts: Sequence[Fact], *, dim: bool = False) -> None:
        """Show these; `dim` draws them as old."""
        self._facts, self._dim = tuple(facts), dim
        width = self.scrollable_content_region.width
        if width:
            self.set_rows(fact_rows(self._facts, max(NARROWEST, width - LABEL - 3), dim=dim))

    def on_resize(self) -> None:
        """Wrap anew; before the first layout there is no width to wrap to."""
        super().on_resize()
        self.show_facts(self._facts, dim=self._dim)


def fact_rows(facts: Sequence[Fact], width: int, *, dim: bool = False) -> list[Row]:
    """Facts as rows; what is too long for one line takes several."""
    rows: list[Row] = []
    for label, cell in facts:
        tone = pieces(cell)[0][1] if pieces(cell) else ""
        parts: Sequence[Cell] = [cell]
        if width_of(cell) > width:
            parts = [((part, tone),) for part in wrap(plain(cell), width)]
        for at, part in enumerate(parts):
            told = ((label, "muted"),) if not at else ""
            rows.append(Row(f"{len(rows)}", (told, part), dim=dim))
    return rows
