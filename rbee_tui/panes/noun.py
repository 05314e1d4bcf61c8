"""A noun of the fleet as a table: columns, rows, and what is known of one of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rbee_tui.state.select import Filter, select
from rbee_tui.state.view import View
from rbee_tui.widgets.facts import Fact
from rbee_tui.widgets.rows import Column, Rows

__all__ = ["Fact", "NounPane", "no_rows", "selected"]


@dataclass(frozen=True, slots=True)
class NounPane:
    """What a table screen needs to know of its noun."""

    noun: str
    title: str
    columns: tuple[Column, ...]
    rows: Callable[[View], Rows]
    facts: Callable[[View, str], list[Fact]]
    """Everything known of the one with that id; empty where it is gone."""
    empty: str
    sort: tuple[str, bool] | None = None
    """Column and whether descending, to begin with."""
    details_below: bool = False
    """Details are open from the start, in a few lines below the rows."""
    keys_are_names: bool = True
    """Whether a row's key says something to people; else what the row is about does."""
    newest_last: bool = False
    """Follow the last row, as a log does."""


def no_rows(view: View, wanted: str, empty: str) -> str:
    """What a table without rows says: not the same where nobody answered, or nothing matches."""
    if view.fleet.queen is None:
        return "nothing was heard from the queen yet"
    return f"nothing matches /{wanted} (Esc clears it)" if wanted else empty


def selected(rows: Rows, wanted: Filter, sort: tuple[int, bool] | None = None) -> Rows:
    """The rows that pass, in order; where nothing is asked for, no row is looked at."""
    if sort is None and not wanted.words and not wanted.without:
        return rows
    return Rows.of(select(list(rows), wanted, sort))
