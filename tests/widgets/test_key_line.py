"""The line of keys: what is left out where there is little room, and what a click does."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from rbee_tui.widgets.key_line import Key, KeyLine, fitting
from rbee_tui.widgets.tones import plain


def key(letter: str, says: str, *, stays: bool = False) -> Key:
    return Key(letter, letter, says, stays=stays)


KEYS = [key("n", "new worker"), key("s", "stop"), key("?", "help", stays=True),
        key("q", "quit", stays=True)]  # fmt: skip


def test_help_and_quit_are_the_last_to_go() -> None:
    """In a narrow terminal the first keys make room for those that always help."""
    assert fitting(KEYS, 80) == KEYS
    assert [one.says for one in fitting(KEYS, 27)] == ["new worker", "help", "quit"]
    assert [one.says for one in fitting(KEYS, 14)] == ["help", "quit"]


def test_a_key_that_does_not_fit_leaves_no_gap() -> None:
    """Keys are in the order of their weight: none is skipped for a shorter one behind it."""
    assert [one.says for one in fitting(KEYS, 22)] == ["help", "quit"]


class One(Screen[None]):
    """A screen with a key of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "count", "new worker")]

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.may = True

    def compose(self) -> ComposeResult:
        yield KeyLine(id="keys")

    def action_count(self) -> None:
        self.count += 1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "count" or (True if self.may else None)


class Keyed(App[None]):
    """An app with a key that is always there."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark", "help", "help")]

    def get_default_screen(self) -> Screen[None]:
        return One()


async def test_a_click_does_what_the_key_does() -> None:
    """The line is drawn from the bindings that work, and is as good as they are."""
    app = Keyed()
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, One)
        line = screen.query_one(KeyLine)
        assert plain(line.cell).startswith(" n new worker ? help")
        await pilot.click(KeyLine, offset=(3, 0))
        await pilot.click(KeyLine, offset=(30, 0))
        await pilot.pause()

        assert screen.count == 1

        screen.may = False
        screen.refresh_bindings()
        await pilot.pause()
        assert (" new worker", "muted") in line.cell
