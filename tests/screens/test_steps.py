"""What commands say is seen while they run; they end with the pane, and the pane with them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import psutil
from textual.app import App
from textual.pilot import Pilot

from rbee_tui.screens.steps import StepsScreen
from rbee_tui.widgets.token_view import TokenView

PROGRAM = (sys.executable, "-uc")
WAITS = "import os, time; print('begun', os.getpid()); time.sleep(60)"


async def until(pilot: Pilot[None], wanted: Callable[[], bool]) -> None:
    for _ in range(1000):
        if wanted():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come so")


def said(pilot: Pilot[None]) -> str:
    return "".join(view.text for view in pilot.app.screen.query(TokenView))


async def test_what_they_say_is_seen_and_the_last_one_decides() -> None:
    """Also stderr; a doctor who finds something does not hold up what comes after."""
    app: App[None] = App()
    results: list[bool | None] = []
    complains = "import sys; print('\\x1b[31mno gcc', file=sys.stderr); sys.exit(1)"
    async with app.run_test() as pilot:
        screen = StepsScreen("install gpu-1", PROGRAM, ([complains], ["print('ü')"]))
        app.push_screen(screen, results.append)
        await until(pilot, lambda: "✔ done" in said(pilot))

        assert "no gcc" in said(pilot)
        assert "ü" in said(pilot)
        assert "\x1b" not in said(pilot)

        await pilot.press("escape")
        await until(pilot, lambda: results == [True])


async def test_it_does_not_close_while_something_is_done_and_can_be_interrupted() -> None:
    """Escape waits for the end; x ends it, and what would have come after is left out."""
    app: App[None] = App()
    async with app.run_test() as pilot:
        screen = StepsScreen("install gpu-1", PROGRAM, ([WAITS], ["print('after')"]))
        app.push_screen(screen)
        await until(pilot, lambda: "\nbegun" in said(pilot))
        await pilot.press("escape")
        assert app.screen is screen

        await pilot.press("x")
        await until(pilot, lambda: screen.ended is not None)
        assert screen.ended != 0
        assert "\nafter" not in said(pilot)

        await pilot.press("escape")
        assert app.screen is not screen


async def test_nothing_runs_on_behind_a_center_that_was_left() -> None:
    """Leaving the app ends the command, too."""
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(StepsScreen("install gpu-1", PROGRAM, ([WAITS],)))
        await until(pilot, lambda: re.search(r"\nbegun (\d+)\n", said(pilot)) is not None)
        pid = int(re.findall(r"\nbegun (\d+)\n", said(pilot))[0])
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
