"""The themes of a running app: read when it opens, and again whenever one is to be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from rbee_tui.theming.files import Found, find_themes


class LiveThemes:
    """What the theme files say now; somebody who writes one sees it without a restart."""

    def __init__(self, app: App[Any], folders: Sequence[Path]) -> None:
        self._app = app
        self._folders = folders
        self._told: tuple[str, ...] = ()
        self.found = Found({})
        self._read()

    def _read(self) -> None:
        self.found = find_themes(self._folders)
        for theme_file in self.found.themes.values():
            self._app.register_theme(theme_file.theme())

    def tell_problems(self) -> None:
        """Name the files that cannot be used, each problem once."""
        for problem in self.found.problems:
            if problem not in self._told:
                self._app.notify(problem, title="theme not used", severity="warning", markup=False)
        self._told = self.found.problems

    def refresh(self) -> None:
        """Take what the files say now, also for the theme that is seen."""
        before = self.found.themes.get(self._app.theme)
        self._read()
        self.tell_problems()
        if self.found.themes.get(self._app.theme) != before:
            self._app.refresh_css(animate=False)

    def next(self) -> str:
        """Switch to the next theme in the order of the names; returns what it calls itself."""
        self.refresh()
        names = sorted(self.found.themes)
        if not names:
            return self._app.theme
        at = names.index(self._app.theme) if self._app.theme in names else -1
        self._app.theme = names[(at + 1) % len(names)]
        return self.found.themes[self._app.theme].title or self._app.theme
