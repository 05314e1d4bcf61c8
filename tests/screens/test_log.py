"""A log that is open goes on, says what it misses, and when there is no more of it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import App
from textual.pilot import Pilot

from rbee_agent.errors import NotFound, RbeeError, Unreachable
from rbee_tui.screens.log import MISSED, LogScreen, later
from rbee_tui.widgets.token_view import TokenView


def test_only_what_is_new_is_added() -> None:
    """Two looks at the end of one log overlap; what was seen is not written twice."""
    assert later((), ["a", "b"]) == ["a", "b"]
    assert later(["a", "b"], ["a", "b"]) == []
    assert later(["a", "b"], ["a", "b", "c"]) == ["c"]
    assert later(["a", "b", "c"], ["b", "c", "d", "e"]) == ["d", "e"]
    assert later(["a", "b"], []) == []
    assert later(["a", "a"], ["a", "a"]) == [], "a log that repeats itself says nothing new"


def test_what_was_missed_is_said() -> None:
    """A log that ran faster than it was looked at has a gap, and shows it."""
    assert later(["a", "b"], ["x", "y"]) == [MISSED, "x", "y"]


class Log:
    """Gives what the test sets."""

    def __init__(self) -> None:
        self.answer: Sequence[str] | RbeeError = ["one"]

    async def __call__(self) -> Sequence[str]:
        if isinstance(self.answer, RbeeError):
            raise self.answer
        return self.answer


async def until_said(pilot: Pilot[None], words: str) -> TokenView:
    view = pilot.app.screen.query_one(TokenView)
    for _ in range(200):
        if words in view.text or words in str(view.border_subtitle):
            return view
        await pilot.pause(0.01)
    raise AssertionError(f"{words} was not said: {view.text!r} {view.border_subtitle!r}")


async def test_a_log_goes_on_through_trouble_to_its_end() -> None:
    """New lines come by themselves; a queen who is away is told and asked again."""
    log = Log()
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(LogScreen("log of w", log, every_s=0.02))
        await pilot.pause()
        await until_said(pilot, "one")
        for answer, said in (
            (["one", "two"], "two"),
            (Unreachable("no queen answers"), "no queen answers"),
            (["two", "three"], "three"),
            (NotFound("there is no worker w"), "it is gone"),
        ):
            log.answer = answer
            view = await until_said(pilot, said)

        assert view.text == "one\ntwo\nthree\n"

        await pilot.press("escape")
        assert not isinstance(app.screen, LogScreen)
