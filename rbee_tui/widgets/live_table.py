"""LiveTable: a table for rows that change all the time, drawn by Textual's line API.

Rows are plain values, looked at only where they are seen; setting them costs a comparison of
those, and only lines that differ are drawn again.
The cursor belongs to a row's key, so it stays on its row when the order changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import TONE_CLASSES, TONE_CSS, fitted, plain, segments

GAP = 1
"""Blank columns between two columns."""


class LiveTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows under a fixed header, with a cursor, click, and keys as in less and vim."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *TONE_CLASSES,
        "table--header",
        "table--cursor",
        "table--cursor-blurred",
        "table--empty",
    }
    DEFAULT_CSS = f"""
    LiveTable {{
        overflow-x: hidden;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        {TONE_CSS}
        & > .table--header {{ color: $text-muted; text-style: bold; }}
        & > .table--cursor {{
            background: $block-cursor-background; text-style: $block-cursor-text-style;
        }}
        & > .table--cursor-blurred {{
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }}
        & > .table--empty {{ color: $text-muted; text-style: italic; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="table.up", tooltip="One row up"),
        Binding("down,j", "move(1)", "down", show=False, id="table.down", tooltip="One row down"),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False, id="table.pageup",
                tooltip="One page up"),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False, id="table.pagedown",
                tooltip="One page down"),
        Binding("home,g", "edge(0)", "first", show=False, id="table.first", tooltip="First row"),
        Binding("end,G", "edge(-1)", "last", show=False, id="table.last", tooltip="Last row"),
        Binding("enter", "open", "open", show=False, id="table.open",
                tooltip="Open what the row shows"),
    ]  # fmt: skip

    sort: reactive[tuple[str, bool] | None] = reactive(None)
    """Column key and whether descending: only drawn here, whoever makes the rows sorts them."""

    @dataclass
    class Moved(Message):
        """The cursor is on another row now."""

        table: LiveTable
        row: Row

        @property
        def control(self) -> LiveTable:
            """The table it happened in."""
            return self.table

    @dataclass
    class Opened(Moved):
        """Enter or a second click on the row."""

    @dataclass
    class SortAsked(Message):
        """A click on a column's header."""

        table: LiveTable
        column: str

        @property
        def control(self) -> LiveTable:
            """The table it happened in."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "nothing here",
        header: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._head = int(header)
        self.columns = tuple(columns)
        self.empty = empty
        self.rows = Rows.of(())
        self._cursor_key: str | None = None
        self._cursor_at = 0
        self._layout: list[tuple[int, Column, int]] = []
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._base = Style.null()

    @property
    def cursor(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self._cursor_at] if self.rows.keys else None

    @property
    def cursor_at(self) -> int:
        """Which row that is, counted from 0."""
        return self._cursor_at

    def set_rows(self, rows: Rows | Sequence[Row]) -> None:
        """Show these rows, in this order; lines that stay the same are not drawn again."""
        old, new = self.rows, rows if isinstance(rows, Rows) else Rows.of(rows)
        self.rows = new
        before = self._cursor_at
        at = new.index.get(self._cursor_key or "")
        self._cursor_at = min(before, max(0, len(new) - 1)) if at is None else at
        self._cursor_key = new.keys[self._cursor_at] if new.keys else None
        if len(old) != len(new):
            self._resize()
            self.refresh()
        else:
            top = self.scroll_offset.y
            for y in range(top, min(len(old), top + self.size.height)):
                if old[y] != new[y]:
                    self._refresh_row(y)
        if before != self._cursor_at:
            self._refresh_row(before)
            self._refresh_row(self._cursor_at)
            self._follow_cursor()
        if (old.keys[before] if old.keys else None) != self._cursor_key:
            self._say_moved()

    def say_empty(self, sentence: str) -> None:
        """What stands there while there are no rows."""
        if sentence != self.empty:
            self.empty = sentence
            self.refresh()

    def select(self, key: str) -> bool:
        """Put the cursor on the row of that key; False where there is none."""
        at = self.rows.index.get(key)
        if at is None:
            return False
        self._go(at)
        return True

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show other columns from now on."""
        self.columns = tuple(columns)
        self._lay_out()

    def _lay_out(self) -> None:
        """Choose the columns that fit and share what is left of the width."""
        width = self.scrollable_content_region.width
        shown = list(enumerate(self.columns))
        while len(shown) > 1 and _total(shown) > width:
            droppable = [item for item in shown if item[1].drop]
            if not droppable:
                break
            shown.remove(max(droppable, key=lambda item: item[1].drop))
        left = max(0, width - _total(shown))
        shares = sum(column.grow for _, column in shown) or 1
        self._layout = [
            (at, column, column.width + left * column.grow // shares) for at, column in shown
        ]
        self._strips.clear()
        self.refresh()

    def _resize(self) -> None:
        self.virtual_size = Size(
            self.scrollable_content_region.width, max(1, len(self.rows)) + self._head
        )

    def on_resize(self) -> None:
        """Columns follow the width."""
        self._resize()
        self._lay_out()
        self._follow_cursor()

    def notify_style_update(self) -> None:
        """Another theme: what was drawn looks wrong now."""
        super().notify_style_update()
        self._strips.clear()

    def watch_sort(self) -> None:
        """The header shows the order."""
        self.refresh(Region(0, 0, self.size.width, self._head))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Find the style of the text once for all lines: it depends on all that is around it."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line: the header, a row, the sentence for no rows, or nothing."""
        width = self.size.width
        base = self._base
        if y < self._head:
            return self._header(width)
        at = self.scroll_offset.y + y - self._head
        if at >= len(self.rows):
            if y == self._head and not self.rows:
                style = self.get_component_rich_style("table--empty")
                return Strip([Segment(self.empty, style)]).adjust_cell_length(width, base)
            return Strip.blank(width, base)
        row = self.rows[at]
        cursor = (1 + self.has_focus) if at == self._cursor_at else 0
        key = (row.cells, row.tone, row.dim, width, cursor)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._draw(row, width, base, cursor)
        return strip

    def _draw(self, row: Row, width: int, base: Style, cursor: int) -> Strip:
        parts: list[Segment] = []
        for at, column, room in self._layout:
            cell = row.cells[at]
            if row.dim:
                cell = ((plain(cell), "muted"),)
            elif isinstance(cell, str):
                cell = ((cell, row.tone),)
            parts += segments(self, fitted(cell, room, right=column.right, tail=column.tail), base)
            parts.append(Segment(" " * GAP, base))
        strip = Strip(parts).adjust_cell_length(width, base)
        if not cursor:
            return strip
        if cursor == 1:
            blurred = self.get_component_rich_style("table--cursor-blurred", partial=True)
            return Strip([Segment(s.text, (s.style or base) + blurred) for s in strip])
        style = self.get_component_rich_style("table--cursor", partial=True)
        return Strip([Segment(s.text, (s.style or base) + style) for s in strip])

    def _header(self, width: int) -> Strip:
        style = self.get_component_rich_style("table--header")
        parts: list[Segment] = []
        for _, column, room in self._layout:
            mark = ""
            if self.sort is not None and self.sort[0] == column.key:
                mark = "↓" if self.sort[1] else "↑"
            title = fitted(column.title + mark, room, right=column.right)
            parts += [Segment(text, style) for text, _ in title]
            parts.append(Segment(" " * GAP, style))
        return Strip(parts).adjust_cell_length(width, style)

    def _refresh_row(self, at: int) -> None:
        y = at - self.scroll_offset.y + self._head
        if self._head <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _follow_cursor(self) -> None:
        """Scroll as little as shows the cursor's row under the header."""
        room = max(1, self.scrollable_content_region.height - self._head)
        top = self.scroll_offset.y
        if self._cursor_at < top:
            self.scroll_to(y=self._cursor_at, animate=False, force=True)
        elif self._cursor_at >= top + room:
            self.scroll_to(y=self._cursor_at - room + 1, animate=False, force=True)

    def _go(self, at: int) -> None:
        if not self.rows:
            return
        at = min(len(self.rows) - 1, max(0, at))
        if at == self._cursor_at and self._cursor_key == self.rows.keys[at]:
            return
        before, self._cursor_at = self._cursor_at, at
        self._cursor_key = self.rows.keys[at]
        self._refresh_row(before)
        self._refresh_row(at)
        self._follow_cursor()
        self._say_moved()

    def _say_moved(self) -> None:
        if (row := self.cursor) is not None:
            self.post_message(self.Moved(self, row))

    def action_move(self, step: int) -> None:
        """Move the cursor by rows."""
        self._go(self._cursor_at + step)

    def action_page(self, step: int) -> None:
        """Move the cursor by pages."""
        self._go(self._cursor_at + step * max(1, self.size.height - self._head - 1))

    def action_edge(self, at: int) -> None:
        """Move the cursor to the first (0) or the last (-1) row."""
        self._go(at if at >= 0 else len(self.rows) - 1)

    def action_open(self) -> None:
        """Say that the row under the cursor is to be opened."""
        if (row := self.cursor) is not None:
            self.post_message(self.Opened(self, row))

    def on_click(self, event: events.Click) -> None:
        """Header: sort; row: cursor; the row under the cursor: open."""
        if event.y < self._head:
            x = 0
            for _, column, room in self._layout:
                x += room + GAP
                if event.x < x:
                    self.post_message(self.SortAsked(self, column.key))
                    return
            return
        at = self.scroll_offset.y + event.y - self._head
        if at >= len(self.rows):
            return
        if at == self._cursor_at and event.chain > 1:
            self.action_open()
        else:
            self._go(at)

    def watch_has_focus(self, has_focus: bool) -> None:
        """The cursor looks different without focus."""
        super().watch_has_focus(has_focus)
        self._refresh_row(self._cursor_at)


def _total(columns: Sequence[tuple[int, Column]]) -> int:
    return sum(column.width + GAP for _, column in columns)
