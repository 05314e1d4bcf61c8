"""A theme that is written while the app runs is seen without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

from rbee_tui.app import RbeeApp
from rbee_tui.setup import Setup
from rbee_tui.theming.live import LiveThemes


async def test_a_file_that_changes_is_taken_and_a_broken_one_is_told_once(tmp_path: Path) -> None:
    """The theme that is seen changes its colours; a bad file is named once and changes nothing."""
    mine = tmp_path / "mine.toml"
    mine.write_text('name = "mine"\nprimary = "#ff0000"')
    app: App[Any] = App()
    themes = LiveThemes(app, [tmp_path])
    app.theme = "mine"
    async with app.run_test() as pilot:
        before = app.stylesheet._variables["primary"]
        mine.write_text('name = "mine"\nprimary = "#00ff00"')
        themes.refresh()
        await pilot.pause()
        assert app.stylesheet._variables["primary"] != before
        (tmp_path / "bad.toml").write_text('name = "bad"')
        themes.refresh()
        themes.refresh()
        await pilot.pause()

        assert [note.title for note in app._notifications] == ["theme not used"]
        assert themes.next() == "mine"


async def test_what_is_chosen_is_there_at_the_next_start(tmp_path: Path) -> None:
    """The key for the next theme writes its name; another control center begins with it."""
    setup = Setup(live=False, theme_file=tmp_path / "state" / "theme")
    app = RbeeApp(None, setup)
    first = app.theme
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t")
        await pilot.pause()
        chosen = app.theme

    assert chosen != first
    assert RbeeApp(None, setup).theme == chosen
