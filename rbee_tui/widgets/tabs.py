"""Tabs: one line of keys and names, the current one marked; a click picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from rbee_tui.widgets.line import Line
from rbee_tui.widgets.tones import Piece, width_of


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab."""

    name: str
    key: str
    short: str = ""


class TabLine(Line):
    """Tabs as wide as there is room for: names, short names, or only what fits."""

    DEFAULT_CSS = """
    TabLine { background: $panel; }
    """

    @dataclass
    class Picked(Message):
        """A tab was clicked."""

        name: str

    def __init__(self, tabs: Sequence[Tab], current: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = tabs
        self._current = current

    def on_resize(self) -> None:
        """Names follow the width."""
        self.show(tab_pieces(self._tabs, self._current, self.size.width))

    def on_click(self, event: events.Click) -> None:
        """The tab under the pointer."""
        at = 0
        drawn = self.cell if not isinstance(self.cell, str) else ()
        for tab, (key, name) in zip(self._tabs, zip(drawn[1::3], drawn[2::3], strict=False),
                                    strict=False):  # fmt: skip
            at += width_of((key, name)) + 1
            if event.x <= at:
                self.post_message(self.Picked(tab.name))
                return


def tab_pieces(tabs: Sequence[Tab], current: str, width: int) -> tuple[Piece, ...]:
    """The line as pieces: for each tab a gap, its key and its name."""
    drawn: list[Piece] = []
    for gap, between, short in (("  ", " ", False), (" ", "", False), (" ", "", True)):
        drawn = []
        for tab in tabs:
            here = tab.name == current
            name = tab.short if short and tab.short else tab.name
            drawn += [
                (gap if drawn else " ", ""),
                (tab.key + between, "accent" if not here else "here"),
                (name, "here" if here else "muted"),
            ]
        if width_of(tuple(drawn)) <= width:
            break
    return tuple(drawn)
