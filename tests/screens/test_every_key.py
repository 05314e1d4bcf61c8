"""Every key that help shows does something, on every screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.binding import ActiveBinding
from textual.pilot import Pilot

from rbee_tui.app import RbeeApp
from rbee_tui.screens.help import help_lines
from rbee_tui.screens.names import SCREENS
from rbee_tui.screens.table import TableScreen
from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.tones import plain

ELSEWHERE = {
    "app.reconnect",  # needs a feed: test_a_lost_queen_is_said_and_found_again
    "chat.cancel",  # needs an answer on its way: test_chat
    "policy.apply", "policy.check",  # need a queen who judges: test_policy
    "screen.back",  # on the overview with nothing to leave; tested by itself below
}  # fmt: skip
SHARED = {"app", "screen", "table"}
"""Owners of keys that are the same on every screen: these are pressed on one of them."""
PRESSED_ON = "hosts"
WIDEST = 62
"""Columns that help has for a sentence at 80 columns."""


def signature(app: RbeeApp) -> tuple[object, ...]:
    """Everything a key can change."""
    size = app.screen.size
    strips = app.screen._compositor.render_strips(size)
    return (
        app.current_mode,
        len(app.screen_stack),
        type(app.screen).__name__,
        app.focused,
        app.clipboard,
        app.theme,
        len(app._notifications),
        tuple(strip.text for strip in strips),
        tuple((strip, style) for strip in strips for _, style, _ in strip),
    )


def ours(app: RbeeApp) -> dict[str, ActiveBinding]:
    """The bindings that help shows, by key."""
    return {
        key: active
        for key, active in app.screen.active_bindings.items()
        if active.binding.id and active.enabled
    }


async def settle(pilot: Pilot[Any], app: RbeeApp, name: str) -> None:
    """Back to the screen with its cursor in the middle of its table."""
    while len(app.screen_stack) > 1:
        app.pop_screen()
    app.clear_notifications()
    app.show_screen(name)
    await pilot.pause()
    if isinstance(app.screen, TableScreen):
        app.screen._facts_wanted = None
        app.screen.refresh_view()
    if name in ("chat", "policy"):
        app.screen.set_focus(None)
    tables = app.screen.query(LiveTable)
    if tables:
        table = tables.first()
        table.focus()
        table.action_edge(0)
        table.action_move(1)
    await pilot.pause()


@pytest.mark.parametrize("name", SCREENS)
async def test_every_key_does_something(acting: Callable[[], RbeeApp], name: str) -> None:
    """A key that is shown and does nothing is a lie; the screen, the focus or a toast must move."""
    app = acting()
    app.setup = replace(app.setup, owns_agents=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot, app, name)
        idle: list[str] = []
        for key, active in ours(app).items():
            binding = active.binding
            if binding.id in ELSEWHERE or binding.id == f"app.screen-{name}":
                continue
            if str(binding.id).partition(".")[0] in SHARED and name != PRESSED_ON:
                continue
            if binding.id == "rows.reverse":
                await pilot.press("right")
            before = signature(app)
            await pilot.press(key)
            await pilot.pause()
            if signature(app) == before:
                idle.append(f"{key} ({binding.id})")
            await settle(pilot, app, name)

        assert idle == []


@pytest.mark.parametrize("name", SCREENS)
async def test_every_key_is_explained(acting: Callable[[], RbeeApp], name: str) -> None:
    """Ids are unique, each has a sentence, and each sentence fits a line of help."""
    app = acting()
    async with app.run_test() as pilot:
        await settle(pilot, app, name)
        bindings = ours(app)
        actions: dict[str, str] = {}
        for active in bindings.values():
            binding = active.binding
            assert binding.tooltip, binding
            assert len(binding.tooltip) <= WIDEST, binding.tooltip
            assert actions.setdefault(str(binding.id), binding.action) == binding.action
        shown = "\n".join(plain(line) for line in help_lines(bindings.values()))

        for action in set(actions.values()):
            words = [a.binding.tooltip for a in bindings.values() if a.binding.action == action]
            assert any(word.rstrip(".") in shown for word in words), words


@pytest.mark.parametrize("name", [name for name in SCREENS if name != "overview"])
async def test_escape_goes_one_step_back_and_never_quits(
    acting: Callable[[], RbeeApp], name: str
) -> None:
    """However often it is pressed, it ends on the overview."""
    app = acting()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot, app, name)
        for _ in range(4):
            await pilot.press("escape")

        assert app.current_mode == "overview"
        assert app.is_running
