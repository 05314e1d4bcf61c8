"""Events: what happened, in words, newest last."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.events import Narration
from rbee_tui.panes.status import LEVEL, status
from rbee_tui.state.view import View
from rbee_tui.widgets.live_table import Column, Row

COLUMNS: Final = (
    Column("time", "TIME", 8),
    Column("level", "", 1),
    Column("actor", "WHO", 7),
    Column("text", "WHAT", 30, grow=1),
)


def rows(view: View, *, last: int | None = None) -> list[Row]:
    """The newest `last` events (None: all that are kept), oldest first."""
    told = view.fleet.narration
    if last is not None:
        told = told[max(0, len(told) - last) :]
    return [_row(view, narration) for narration in told]


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
    return Row(str(narration.seq), cells, tone, about)
