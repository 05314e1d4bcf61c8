"""LiveTable draws what it is given and only what changed, and never lets the cursor slip."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.geometry import Region

from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.rows import Column, Row, Rows

COLUMNS = (
    Column("name", "NAME", 6, grow=1),
    Column("size", "SIZE", 5, right=True),
    Column("extra", "EXTRA", 20, drop=1),
)


class TableApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.asked: list[str] = []

    def compose(self) -> ComposeResult:
        yield LiveTable(COLUMNS, empty="nothing", id="table")

    def on_live_table_moved(self, event: LiveTable.Moved) -> None:
        self.seen.append(event.row.key)

    def on_live_table_sort_asked(self, event: LiveTable.SortAsked) -> None:
        self.asked.append(event.column)

    @property
    def table(self) -> LiveTable:
        return self.query_one(LiveTable)

    def line(self, y: int) -> str:
        return self.table.render_line(y).text


def rows(*keys: str, size: str = "1") -> list[Row]:
    return [Row(key, (key, size, "more")) for key in keys]


async def test_it_shows_a_header_and_rows() -> None:
    """Header first, rows below, numbers to the right."""
    app = TableApp()
    async with app.run_test(size=(40, 6)):
        app.table.set_rows(rows("one", "two"))

        assert app.line(0).split() == ["NAME", "SIZE", "EXTRA"]
        assert app.line(1).split() == ["one", "1", "more"]
        assert app.line(1).index("1") == app.line(0).index("SIZE") + 3


async def test_markup_and_brackets_are_text() -> None:
    """Text that looks like markup is shown as it is; in a stock table it would end the app."""
    app = TableApp()
    async with app.run_test(size=(40, 6)):
        app.table.set_rows(rows("[/foo]"))

        assert "[/foo]" in app.line(1)


async def test_columns_that_do_not_fit_are_left_out() -> None:
    """On a narrow terminal the least wanted column goes first."""
    app = TableApp()
    async with app.run_test(size=(20, 6)):
        app.table.set_rows(rows("one"))

        assert "EXTRA" not in app.line(0)
        assert "SIZE" in app.line(0)


async def test_the_cursor_stays_on_its_row_when_the_order_changes() -> None:
    """The cursor belongs to a key, not to a place."""
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.set_rows(rows("a", "b", "c"))
        await pilot.press("down")
        assert app.table.cursor.key == "b"  # type: ignore[union-attr]
        app.table.set_rows(rows("b", "c", "a"))
        await pilot.pause()

        assert app.table.cursor.key == "b"  # type: ignore[union-attr]
        app.table.set_rows(rows("c", "a"))
        await pilot.pause()
        assert app.table.cursor.key == "c"  # type: ignore[union-attr]
        assert app.seen == ["a", "b", "c"]


async def test_only_the_lines_that_differ_are_drawn() -> None:
    """A change of one row refreshes one line; equal rows refresh nothing."""
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.set_rows(rows("a", "b", "c", "d"))
        await pilot.pause()
        await pilot.pause()
        drawn: list[Region] = []
        app.table.refresh = lambda *regions, **_kw: drawn.extend(regions)  # type: ignore[method-assign]
        app.table.set_rows(rows("a", "b", "c", "d"))
        assert drawn == []
        app.table.set_rows([*rows("a", "b", "c"), *rows("d", size="2")])

        assert [region.y for region in drawn] == [4]


async def test_keys_move_the_cursor_and_the_view_follows() -> None:
    """Vim's and the arrow keys, pages and ends."""
    app = TableApp()
    async with app.run_test(size=(40, 6)) as pilot:
        app.table.set_rows(rows(*(f"r{at:03}" for at in range(100))))
        await pilot.press("G")
        assert app.table.cursor.key == "r099"  # type: ignore[union-attr]
        assert "r099" in app.line(5)
        await pilot.press("g")
        assert "r000" in app.line(1)
        await pilot.press("j", "down", "k")
        assert app.table.cursor.key == "r001"  # type: ignore[union-attr]
        await pilot.press("ctrl+d")
        assert app.table.cursor.key == "r005"  # type: ignore[union-attr]
        await pilot.press("pageup")
        assert app.table.cursor.key == "r001"  # type: ignore[union-attr]


async def test_the_mouse_moves_the_cursor_and_asks_to_sort() -> None:
    """A click on a row selects it, a click on a title asks to sort by it."""
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.set_rows(rows("a", "b", "c"))
        await pilot.click(LiveTable, offset=(2, 3))
        assert app.table.cursor.key == "c"  # type: ignore[union-attr]
        await pilot.click(LiveTable, offset=(app.line(0).index("SIZE"), 0))
        await pilot.pause()

        assert app.asked == ["size"]


async def test_no_rows_say_so() -> None:
    """An empty table says what it is empty of."""
    app = TableApp()
    async with app.run_test(size=(40, 6)):
        assert "nothing" in app.line(1)
        assert app.table.cursor is None


async def test_wide_characters_keep_the_columns() -> None:
    """CJK and emoji take two columns and do not push what is right of them."""
    app = TableApp()
    async with app.run_test(size=(40, 6)):
        app.table.set_rows([*rows("蜂蜜の家族がここにいます長い"), *rows("ascii")])

        assert app.table.render_line(1).cell_length == 40
        assert "…" in app.line(1)


async def test_rows_out_of_sight_are_never_made() -> None:
    """A table of thousands costs what is seen of it."""
    made: list[int] = []

    def make(at: int) -> Row:
        made.append(at)
        return Row(f"k{at}", (f"row {at}", "", ""))

    keys = [f"k{at}" for at in range(5000)]
    async with TableApp().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(LiveTable)
        table.set_rows(Rows(keys, make))
        await pilot.pause()
        table.set_rows(Rows(keys, make))
        await pilot.pause()

        assert len(table.rows) == 5000
        assert set(made) <= set(range(20))
        table.action_edge(-1)
        await pilot.pause()
        assert 4999 in made
        assert table.cursor is not None
        assert table.cursor.key == "k4999"
