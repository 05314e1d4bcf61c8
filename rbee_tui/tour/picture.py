"""Pictures of the control center, drawn by the app itself from the demo data.

``python -m rbee_tui.tour.picture docs`` writes all of them, with a file's name that one (its
stem says which). The docs' pictures and the README's are made so, and a test compares them with
what the app draws today.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import Final

from textual.pilot import Pilot
from textual.widgets import Input

from rbee_tui.app import RbeeApp
from rbee_tui.feed.demo import NOW, URL, demo_messages
from rbee_tui.feed.recording import replay
from rbee_tui.setup import ExitCode, Setup
from rbee_tui.state.view import View

SIZE = (120, 40)

Prepare = Callable[[Pilot[ExitCode]], Awaitable[None]]


def demo_view() -> View:
    """The demo fleet, three streams running."""
    return replay(demo_messages(), now=NOW, url=URL, zone=UTC)


def picture_app(view: View, *, theme: str | None = None, read_only: bool = False) -> RbeeApp:
    """The app on a fixed view and clock, connected to nothing, with nothing that moves."""
    setup = Setup(
        url=URL, theme=theme, read_only=read_only, text_shown=not read_only, now=lambda: view.now,
        zone=UTC, live=False, view=view,
    )  # fmt: skip
    app = RbeeApp(None, setup)
    app.animation_level = "none"
    return app


async def draw(
    view: View, *, size: tuple[int, int] = SIZE, theme: str | None = None,
    prepare: Prepare | None = None,
) -> str:  # fmt: skip
    """One screen as SVG text.

    Args:
        view: what to show.
        size: columns and rows.
        theme: a theme's name.
        prepare: what to press before the picture is taken.
    """
    app = picture_app(view, theme=theme)
    async with app.run_test(size=size) as pilot:
        if prepare is not None:
            await prepare(pilot)
        await pilot.pause()
        svg = app.export_screenshot(title="rbee", simplify=True)
        return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing from afar


def _keys(*keys: str) -> Prepare:
    async def press(pilot: Pilot[ExitCode]) -> None:
        await pilot.press(*keys)
        await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause()

    return press


PICTURES: Final[dict[str, Prepare]] = {
    "overview": _keys(),
    "hosts": _keys("2"),
    "workers": _keys("3"),
    "streams": _keys("4"),
    "models": _keys("6"),
    "palette": _keys("ctrl+p", *"stop"),
    "help": _keys("question_mark"),
}
"""The docs' pictures: name to what is pressed before each is taken."""


async def take(name: str) -> str:
    """One of the docs' pictures."""
    return await draw(demo_view(), prepare=PICTURES[name])


def main(arguments: list[str]) -> int:
    """Write the picture that the file's name says, or all of them into a folder."""
    target = Path(arguments[0]) if len(arguments) == 1 else None
    if target is None or not (target.is_dir() or target.stem in PICTURES):
        known = ", ".join(PICTURES)
        sys.stderr.write(f"usage: python -m rbee_tui.tour.picture FOLDER or {known}.svg\n")
        return 2
    names = list(PICTURES) if target.is_dir() else [target.stem]
    for name in names:
        file = target / f"{name}.svg" if target.is_dir() else target
        file.write_text(asyncio.run(take(name)), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
