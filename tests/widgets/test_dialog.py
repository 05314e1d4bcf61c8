"""Dialogs do no harm by accident."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.widgets import Input

from rbee_tui.widgets.dialog import Answer, Question

DO = Answer("do", "stop", "y", danger=True)
KEEP = Answer("keep", "do nothing", "n")


class AskApp(App[None]):
    answer: str | None = None

    def ask(self, question: Question) -> None:
        self.push_screen(question, self._answered)

    def _answered(self, value: str | None) -> None:
        self.answer = value


@pytest.mark.parametrize(
    ("keys", "answer"),
    [(["enter"], "keep"), (["escape"], "keep"), (["n"], "keep"), (["y"], "do"),
     (["left", "enter"], "do"), (["z"], None)],
)  # fmt: skip
async def test_the_harmless_answer_is_the_easy_one(keys: list[str], answer: str | None) -> None:
    """Enter and Escape do nothing; the letter or a deliberate move does it."""
    app = AskApp()
    async with app.run_test() as pilot:
        app.ask(Question("stop w1?", ["it stops"], (DO, KEEP)))
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()

        assert answer == app.answer


async def test_a_name_can_be_asked_for() -> None:
    """Where the name must be typed, another name does not do it."""
    app = AskApp()
    async with app.run_test() as pilot:
        app.ask(Question("delete?", [], (DO, KEEP), type_this="gpu-3"))
        await pilot.pause()
        await pilot.press(*"gpu", "enter")
        await pilot.pause()
        assert app.answer is None
        app.screen.query_one(Input).value = "gpu-3"
        await pilot.press("enter")
        await pilot.pause()

        assert app.answer == "do"


async def test_markup_in_a_question_is_text() -> None:
    """Names from elsewhere cannot style, link or crash a question."""
    app = AskApp()
    async with app.run_test() as pilot:
        app.ask(Question("stop [/x]?", ["[bold]a[/foo]"], (DO, KEEP)))
        await pilot.pause()

        assert "[/x]" in str(app.screen.query("Vertical").first().border_title)


async def test_an_answers_letter_does_not_reach_the_screen_below() -> None:
    """The letter that answers is not also a verb of the screen that comes back."""

    class Below(AskApp):
        BINDINGS = [("n", "harm", "harm")]  # noqa: RUF012
        harmed = False

        def action_harm(self) -> None:
            self.harmed = True

    app = Below()
    async with app.run_test() as pilot:
        app.ask(Question("stop?", [], (DO, KEEP)))
        await pilot.pause()
        await pilot.press("n")
        await pilot.pause()

        assert app.answer == "keep"
        assert not app.harmed
