"""TokenView: endless text that grows at its end, wrapped, bounded, drawn by Textual's line API.

Appending costs the wrapping of the last line and the drawing of the lines that changed, however
long the text is. It follows the end until the reader scrolls up, and again when he is back there.
"""

from __future__ import annotations

from typing import ClassVar, Final

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from rbee_tui.widgets.tones import TONE_CLASSES, TONE_CSS

MAX_LINES: Final = 2_000
"""Wrapped lines that are kept; older ones leave at the top."""


class TokenView(ScrollView, can_focus=True):
    """A pane of streaming text."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*TONE_CLASSES, "token--notice"}
    DEFAULT_CSS = f"""
    TokenView {{
        overflow-x: hidden;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        {TONE_CSS}
        & > .token--notice {{ color: $text-muted; text-style: italic; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False, id="text.up", tooltip="One line up"),
        Binding("down,j", "scroll_down", "down", show=False, id="text.down",
                tooltip="One line down"),
        Binding("pageup,ctrl+u", "page_up", "page up", show=False, id="text.pageup",
                tooltip="One page up"),
        Binding("pagedown,ctrl+d", "page_down", "page down", show=False, id="text.pagedown",
                tooltip="One page down"),
        Binding("home,g", "scroll_home", "start", show=False, id="text.start",
                tooltip="Start of the text"),
        Binding("end,G", "follow", "follow", show=False, id="text.follow",
                tooltip="End of the text, and follow it"),
    ]  # fmt: skip

    def __init__(self, *, id: str | None = None, notice: str = "") -> None:
        super().__init__(id=id)
        self.notice = notice
        """What is shown while there is no text."""
        self.following = True
        self._lines: list[str] = []
        self._breaks: list[bool] = []
        """Whether the line ended with a newline of the text, not of the wrapping."""
        self._text_dropped = 0
        self._width = 0
        self._base = Style.null()

    @property
    def text(self) -> str:
        """The text that is held, unwrapped."""
        return "".join(
            line + ("\n" if ended else "")
            for line, ended in zip(self._lines, self._breaks, strict=True)
        )

    @property
    def lines_dropped(self) -> int:
        """Wrapped lines that left at the top."""
        return self._text_dropped

    def set_text(self, text: str) -> None:
        """Show this text instead."""
        self._lines, self._breaks, self._text_dropped = [], [], 0
        self.following = True
        self.append(text)
        self.refresh()

    def append(self, text: str) -> None:
        """Add text at the end."""
        if self._width <= 0:
            self._width = max(1, self.scrollable_content_region.width or 80)
        if not text:
            self._grown()
            return
        first = max(0, len(self._lines) - 1)
        head = ""
        if self._lines and not self._breaks[-1]:
            head = self._lines.pop()
            self._breaks.pop()
        *whole, rest = (head + text).split("\n")
        for line in whole:
            self._wrap(line, ended=True)
        if rest:
            self._wrap(rest, ended=False)
        surplus = len(self._lines) - MAX_LINES
        if surplus > 0:
            del self._lines[:surplus], self._breaks[:surplus]
            self._text_dropped += surplus
            self.refresh()
        else:
            self.refresh_lines(first, len(self._lines) - first + 1)
        self._grown()

    def _grown(self) -> None:
        """Tell the size; stay at the end where the reader was there."""
        size = Size(self._width, len(self._lines))
        if self.virtual_size != size:
            self.virtual_size = size
        if self.following:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _wrap(self, line: str, *, ended: bool) -> None:
        parts = wrap(line, self._width)
        self._lines += parts
        self._breaks += [False] * (len(parts) - 1) + [ended]

    def on_resize(self) -> None:
        """Another width wraps the text anew."""
        width = max(1, self.scrollable_content_region.width)
        if width != self._width:
            text, self._width = self.text, width
            self._lines, self._breaks = [], []
            self.append(text)
            self.refresh()
        elif self.following:
            self._grown()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """At the end: follow; above it: the reader reads."""
        super().watch_scroll_y(old_value, new_value)
        self.following = self.is_vertical_scroll_end

    def action_follow(self) -> None:
        """Go to the end and follow it."""
        self.following = True
        self._grown()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Find the style of the text once for all lines: it depends on all that is around it."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One wrapped line of the text."""
        width = self.size.width
        base = self._base
        at = self.scroll_offset.y + y
        if at >= len(self._lines):
            if y == 0 and not self._lines and self.notice:
                style = self.get_component_rich_style("token--notice")
                return Strip([Segment(self.notice, style)]).adjust_cell_length(width, base)
            return Strip.blank(width, base)
        line = self._lines[at]
        selection = self.text_selection
        span = selection.get_span(at) if selection is not None else None
        if span is None:
            strip = Strip([Segment(line, base)])
        else:
            start, end = span
            end = len(line) if end == -1 else end
            marked = base + self.screen.get_component_rich_style("screen--selection")
            strip = Strip(
                [
                    Segment(line[:start], base),
                    Segment(line[start:end], marked),
                    Segment(line[end:], base),
                ]
            )
        return strip.adjust_cell_length(width, base).apply_offsets(0, at)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text under the mouse selection, with its wrapped lines joined by newlines."""
        return selection.extract("\n".join(self._lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 Textual's name
        """Draw the selection."""
        self.refresh()


def wrap(line: str, width: int) -> list[str]:
    """Break one line at spaces into parts of at most `width` columns; long words are cut.

    Greedy, so text added later changes the last part only. The parts joined are the line.
    """
    if cell_len(line) <= width:
        return [line]
    parts: list[str] = []
    current, used = "", 0
    for word in _words(line):
        length = cell_len(word)
        if used + cell_len(word.rstrip(" ")) <= width:
            current, used = current + word, used + length
            continue
        if current:
            parts.append(current)
        bare = word.rstrip(" ")
        *full, last = chop_cells(bare, width) if length > width else [bare]
        parts += full
        current = last + word[len(bare) :]  # spaces never begin a line
        used = cell_len(current)
    if current:
        parts.append(current)
    return parts


def _words(line: str) -> list[str]:
    """Words, each with the spaces behind it."""
    words: list[str] = []
    start = 0
    for at in range(1, len(line)):
        if line[at] != " " and line[at - 1] == " ":
            words.append(line[start:at])
            start = at
    words.append(line[start:])
    return words
