"""TokenView loses nothing, wraps at words, stays bounded, and follows until one scrolls up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from rbee_tui.widgets import token_view
from rbee_tui.widgets.token_view import TokenView, wrap


class ViewApp(App[None]):
    def compose(self) -> ComposeResult:
        yield TokenView(notice="quiet")

    @property
    def tokens(self) -> TokenView:
        return self.query_one(TokenView)

    def lines(self) -> list[str]:
        return [self.tokens.render_line(y).text.rstrip() for y in range(self.tokens.size.height)]


LINE = st.text(st.sampled_from("ab  c蜂é-"), max_size=120)


@given(LINE, st.integers(2, 30))
def test_wrapping_loses_nothing_and_fits(line: str, width: int) -> None:
    """The parts joined are the line; but for spaces at its end no part is too wide."""
    parts = wrap(line, width)

    assert line == "".join(parts)
    assert all(cell_len(part.rstrip(" ")) <= width for part in parts)


@given(LINE, st.lists(st.integers(0, 120), max_size=5), st.integers(2, 30))
def test_wrapping_what_comes_in_pieces_is_wrapping_the_whole(
    line: str, cuts: list[int], width: int
) -> None:
    """Only the last line has to be wrapped again when text is added."""
    parts: list[str] = []
    at = 0
    for cut in [*sorted(min(cut, len(line)) for cut in cuts), len(line)]:
        head = parts.pop() if parts else ""
        piece, at = line[at:cut], cut
        if head + piece:
            parts += wrap(head + piece, width)

    assert (wrap(line, width) if line else []) == parts


async def test_tokens_appear_at_the_end() -> None:
    """Text added is text shown, wrapped at words."""
    app = ViewApp()
    async with app.run_test(size=(20, 5)) as pilot:
        assert app.lines()[0] == "quiet"
        for token in ["the", "quick", "brown", "fox", "jumps\nover"]:
            app.tokens.append(token + " ")
        await pilot.pause()

        assert app.lines()[:3] == ["the quick brown fox", "jumps", "over"]
        assert app.tokens.text == "the quick brown fox jumps\nover "


async def test_it_follows_the_end_until_one_scrolls_up() -> None:
    """Scrolling up stops the following, End starts it again."""
    app = ViewApp()
    async with app.run_test(size=(20, 4)) as pilot:
        app.tokens.focus()
        app.tokens.append("".join(f"line {at}\n" for at in range(20)))
        await pilot.pause()
        assert "line 19" in app.lines()
        await pilot.press("pageup")
        await pilot.pause()
        seen = app.lines()
        app.tokens.append("more\n")
        await pilot.pause()
        assert seen == app.lines()
        assert not app.tokens.following
        await pilot.press("G")
        await pilot.pause()
        assert "more" in app.lines()
        app.tokens.append("last\n")
        await pilot.pause()
        assert "last" in app.lines()


async def test_another_width_wraps_anew_and_loses_nothing() -> None:
    """Resizing wraps the same text to the new width."""
    app = ViewApp()
    text = "alpha beta gamma delta epsilon zeta eta theta\nsecond line of it"
    async with app.run_test(size=(40, 10)) as pilot:
        app.tokens.append(text)
        await pilot.resize_terminal(14, 10)
        await pilot.pause()

        assert text == app.tokens.text
        assert max(map(len, app.lines())) <= 14
        await pilot.resize_terminal(60, 10)
        await pilot.pause()
        assert text.splitlines() == app.lines()[:2]


async def test_old_lines_leave_and_are_counted(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Memory is bounded: the oldest lines go."""
    monkeypatch.setattr(token_view, "MAX_LINES", 50)
    app = ViewApp()
    async with app.run_test(size=(20, 5)) as pilot:
        for at in range(200):
            app.tokens.append(f"line {at}\n")
        await pilot.pause()

        assert len(app.tokens.text.splitlines()) == 50
        assert app.tokens.lines_dropped == 150
        assert "line 199" in app.tokens.text


async def test_markup_is_text() -> None:
    """Brackets of a model's answer are shown, not obeyed."""
    app = ViewApp()
    async with app.run_test(size=(40, 5)) as pilot:
        app.tokens.append("[bold]x[/foo] [@click=app.bell]y[/]")
        await pilot.pause()

        assert app.lines()[0] == "[bold]x[/foo] [@click=app.bell]y[/]"


async def test_text_can_be_selected_and_copied() -> None:
    """What the mouse selects is the text of the lines."""
    app = ViewApp()
    async with app.run_test(size=(40, 5)) as pilot:
        app.tokens.append("first line\nsecond line\n")
        await pilot.pause()
        app.tokens.text_select_all()
        await pilot.pause()

        assert "first line\nsecond line" in (app.screen.get_selected_text() or "")
