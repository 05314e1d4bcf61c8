"""Line: one line of pieces, drawn by the line API; setting the same pieces again draws nothing."""

from __future__ import annotations

from typing import ClassVar

from textual.strip import Strip
from textual.widget import Widget

from rbee_tui.widgets.tones import TONE_CLASSES, TONE_CSS, Cell, fitted, segments


class Line(Widget):
    """A line of text with tones, cut to the width it has."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*TONE_CLASSES}
    DEFAULT_CSS = f"""
    Line {{ height: 1; width: 1fr; {TONE_CSS} }}
    """

    def __init__(self, cell: Cell = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._cell = cell

    @property
    def cell(self) -> Cell:
        """What it shows."""
        return self._cell

    def show(self, cell: Cell) -> None:
        """Show these pieces."""
        if cell != self._cell:
            self._cell = cell
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line, and nothing below it."""
        width = self.size.width
        base = self.rich_style
        if y:
            return Strip.blank(width, base)
        return Strip(segments(self, fitted(self._cell, width), base))
