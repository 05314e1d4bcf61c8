"""Pictures of the control center, drawn by the app itself from the demo data.

``python -m rbee_tui.screens.picture OUT.svg`` writes the overview; the docs' pictures and the
README's are made so, and a test compares them with what the app draws today.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path

from textual.pilot import Pilot

from rbee_tui.app import ExitCode, RbeeApp, Setup
from rbee_tui.feed.demo import NOW, URL, demo_messages
from rbee_tui.feed.recording import replay
from rbee_tui.state.view import View

SIZE = (120, 40)

Prepare = Callable[[Pilot[ExitCode]], Awaitable[None]]


def demo_view() -> View:
    """The demo fleet, three streams running."""
    return replay(demo_messages(), now=NOW, url=URL, zone=UTC)


def picture_app(view: View, *, theme: str | None = None, read_only: bool = False) -> RbeeApp:
    """The app on a fixed view and clock, connected to nothing, with nothing that moves."""
    setup = Setup(
        url=URL, theme=theme, read_only=read_only, now=lambda: view.now, zone=UTC, live=False,
        view=view,
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
        return app.export_screenshot(title="rbee", simplify=True)


def main(arguments: list[str]) -> int:
    """Write the overview to the file named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m rbee_tui.screens.picture OUT.svg\n")
        return 2
    Path(arguments[0]).write_text(asyncio.run(draw(demo_view())), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
