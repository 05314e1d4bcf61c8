"""``rbee demo`` on a terminal: the control center opens on a live stream; quitting stops all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbee_agent.testing.live_fleet import LiveFleet
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_quitting_stops_all_that_the_demo_started(new_fleet: Callable[..., LiveFleet]) -> None:
    """The first prompt streams in the control center; q, then s: exit 0 and no process is left."""
    fleet = new_fleet()
    env = {**fleet.env, "TERM": "xterm-256color"}
    screen = Terminal(["demo", "--max-tokens", "64"], env=env, cwd=fleet.root, size=(100, 30))
    try:
        screen.until("live")
        screen.until(" tok")
        screen.press("q")
        screen.until("stop all")
        screen.press("s")
        code = screen.end()
    finally:
        screen.kill()

    assert code == 0
    assert fleet.processes() == []
