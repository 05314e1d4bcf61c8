"""The line at the top: is it live, how large is the fleet, how much does it do."""

from __future__ import annotations

from rbee_tui.state.link import LinkState
from rbee_tui.state.units import rate, span
from rbee_tui.state.view import View
from rbee_tui.widgets.meters import sparkline
from rbee_tui.widgets.tones import Piece, width_of


def headline(
    view: View, *, width: int, crumbs: str = "", read_only: bool = False
) -> tuple[Piece, ...]:
    """The pieces of the line, exactly `width` columns or less."""
    left: tuple[Piece, ...] = ((" rbee ", "title"), *_link(view))
    if read_only:
        left = (*left, (" read-only", "accent"))
    if crumbs:
        left = (*left, (f" {crumbs}", "strong"))
    right = _numbers(view, width - width_of(left) - 1)
    fill = max(1, width - width_of(left) - width_of(right))
    return (*left, (" " * fill, ""), *right)


def _link(view: View) -> tuple[Piece, ...]:
    link = view.link
    if link.state is LinkState.LIVE:
        return (("● live", "ok"),)
    since = span(view.now - link.since)
    retry = ""
    if link.retry_at is not None:
        retry = f", next try in {span(max(0.0, link.retry_at - view.now))}"
    if link.state is LinkState.STALE:
        return ((f"◐ stale for {since}{retry}", "warn"),)
    return ((f"◌ connecting to {link.url} {since}{retry}", "busy"),)


def _numbers(view: View, room: int) -> tuple[Piece, ...]:
    """As many of the fleet's numbers as there is room for, the most wanted first."""
    if view.fleet.queen is None:
        return ((f"{view.clock(view.now)} ", "muted"),)
    totals = view.fleet.totals()
    tone = "strong" if view.link.live else "muted"
    history = view.fleet.history.get("fleet", ())
    groups: list[tuple[int, tuple[Piece, ...]]] = [
        (3, _count(totals.nodes, "host", tone)),
        (2, _count(totals.workers, "worker", tone)),
        (1, ((str(totals.running), tone), (" running ", "muted"))),
        (4, ((str(totals.queued), tone), (" queued ", "muted"))),
        (0, ((rate(totals.tokens_per_s), tone), (" tok/s ", "muted"))),
        (6, ((sparkline(history, 16) + " ", "busy"),)),
        (5, ((f"{view.clock(view.now)} ", "muted"),)),
    ]
    while groups and sum(width_of(pieces) for _, pieces in groups) > room:
        groups.remove(max(groups, key=lambda group: group[0]))
    return tuple(piece for _, pieces in groups for piece in pieces)


def _count(count: int, noun: str, tone: str) -> tuple[Piece, ...]:
    return ((str(count), tone), (f" {noun}{'' if count == 1 else 's'} ", "muted"))
