"""Events: what happened, in words, newest last."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.events import Narration
from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.panes.status import LEVEL, status
from rbee_tui.state.view import View
from rbee_tui.widgets.rows import Column, Row, Rows

COLUMNS: Final = (
    Column("time", "TIME", 8),
    Column("level", "", 1),
    Column("actor", "WHO", 7),
    Column("text", "WHAT", 30, grow=1),
)


def rows(view: View, *, last: int | None = None) -> Rows:
    """The newest `last` events (None: all that are kept), oldest first."""
    told = view.fleet.narration
    if last is not None:
        told = told[max(0, len(told) - last) :]
    return Rows([str(one.seq) for one in told], lambda at: _row(view, told[at]))


def _row(view: View, narration: Narration) -> Row:
    level = status(LEVEL, narration.level)
    tone = "" if narration.level == "info" else level.tone
    about = (narration.noun, narration.id) if narration.noun and narration.id else None
    cells = (
        ((view.clock(narration.at), "muted"),),
        ((level.symbol, level.tone),),
        ((narration.actor, "muted"),),
        ((narration.text, tone),),
    )
    return Row(str(narration.seq), cells, tone, about=about)


def facts(view: View, seq: str) -> list[Fact]:
    """One event whole, and what it is about as it is now."""
    told = next((n for n in view.fleet.narration if str(n.seq) == seq), None)
    if told is None:
        return []
    lines: list[Fact] = [
        ("when", view.clock(told.at)),
        ("who", told.actor),
        ("what", told.text),
    ]
    if told.noun and told.id:
        lines.append(("about", f"{told.noun} {told.id}"))
    if told.correlation_id:
        lines.append(("correlation", told.correlation_id))
    return lines


PANE: Final = NounPane(
    noun="event",
    title="events",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="nothing happened yet",
    details_below=True,
    newest_last=True,
    keys_are_names=False,
)
