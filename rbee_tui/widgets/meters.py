"""Bars and sparklines as pieces of text: a block glyph costs nothing, a widget for each does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rbee_tui.widgets.tones import Piece

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_SPARKS: Final = "▁▂▃▄▅▆▇█"
EMPTY: Final = "░"


def bar(share: float | None, width: int, tone: str) -> tuple[Piece, ...]:
    """A bar of `width` columns, exact to an eighth of one; None draws only its place."""
    if share is None:
        return ((EMPTY * width, "muted"),)
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    full = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return ((full, tone), (EMPTY * (width - len(full)), "muted"))


def stacked(parts: Iterable[tuple[float, str, str]], width: int) -> tuple[Piece, ...]:
    """A bar of several shares, each with its own glyph and tone so that colour is not alone.

    Args:
        parts: (share of the whole, glyph, tone), drawn in this order.
        width: columns of the whole.
    """
    drawn: list[Piece] = []
    used = 0
    total = 0.0
    for share, glyph, tone in parts:
        total += max(0.0, share)
        upto = max(used, min(width, round(total * width)))
        if share > 0 and upto == used and used < width:
            upto = used + 1  # something that is there is seen, however small
        drawn.append((glyph * (upto - used), tone))
        used = upto
    return (*drawn, (EMPTY * (width - used), "muted"))


def sparkline(values: Sequence[float], width: int, *, top: float | None = None) -> str:
    """The newest `width` values as a line of blocks, on the left filled with spaces.

    Args:
        values: oldest first.
        width: columns.
        top: the value of a full block; None takes the largest one shown.
    """
    shown = values[-width:]
    step = 7 / max(top if top is not None else max(shown, default=0.0), 1e-9)
    line = "".join([_SPARKS[int(min(7.0, max(0.0, value * step)) + 0.5)] for value in shown])
    return line.rjust(width)
