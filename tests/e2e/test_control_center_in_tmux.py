"""The control center in tmux at 80 by 24 on a real queen, driven by keys alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.e2e.tmux import Tmux, lines

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux (apt-get install tmux)"),
]

Center = Callable[..., AbstractContextManager[Tmux]]


@pytest.fixture
def center() -> Center:
    """Opens the control center in tmux; nothing of it is left afterwards."""

    @contextmanager
    def opened(fleet: LiveFleet, *args: str, size: tuple[int, int] = (80, 24)) -> Iterator[Tmux]:
        tmux = Tmux(fleet, *args, size=size)
        try:
            yield tmux
        finally:
            tmux.end()

    return opened


def test_from_nothing_to_tokens_with_the_help_on_the_screen(
    new_fleet: Callable[..., LiveFleet], center: Center
) -> None:
    """Start a queen, pick a model, say where, prompt, cancel, quit; `rbee down` leaves nothing."""
    fleet = new_fleet(RBEE_QUEEN_PORT="18477")
    with center(fleet) as tmux:
        tmux.until("welcome to rbee")
        tmux.press("s")
        tmux.until("the queen is here")
        tmux.press("m")
        tmux.until("a worker of which model?")
        tmux.type(MODEL)
        tmux.press("Enter")
        tmux.until("where it fits best")
        tmux.press("Enter")
        plan = tmux.until("do nothing (n)")
        assert f"$ rbee worker spawn --model {MODEL}" in plan
        tmux.press("y")
        tmux.until("● ready")
        tmux.press("p")
        tmux.until("type a prompt")
        tmux.type("Tell a very long story about bees.")
        tmux.press("Enter")
        tmux.until("1 running")
        tmux.until(lambda screen: bool(re.search(r"[1-9]\d* tok ", screen)))
        tmux.press("Escape")
        tmux.until("p: send a prompt")
        tmux.press("x")
        tmux.until("do nothing (n)")
        tmux.press("y")
        tmux.until("⊘")
        tmux.press("q")
        tmux.until("ended with 0")

    assert [task["state"] for task in fleet.document("task", "ls")["tasks"]] == ["cancelled"]
    fleet.ok("down")
    assert fleet.processes() == []


def test_a_killed_worker_is_seen_and_its_stream_goes_on(
    new_fleet: Callable[..., LiveFleet], center: Center
) -> None:
    """SIGKILL in mid-stream: the pane says that the stream moved, and its counter goes on."""
    fleet = new_fleet()
    fleet.ok("up", "--model", MODEL)
    with center(fleet) as tmux:
        tmux.until("● ready")
        tmux.press("p")
        tmux.until("type a prompt")
        tmux.type("Tell a very long story about bees.")
        tmux.press("Enter")
        screen = tmux.until(lambda screen: bool(re.search(r"[1-9]\d* tok ", screen)))
        told = counted(screen)
        (worker,) = fleet.document("worker", "ls")["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        screen = tmux.until("↻1")
        tmux.until(lambda screen: counted(screen) > told + 5)
        assert not lines(screen, "✖ failed")


def counted(screen: str) -> int:
    """Tokens that the stream's title tells of."""
    found = re.search(r"(\d+) tok ", screen)
    return int(found.group(1)) if found else 0


def test_every_screen_at_every_size(fleet: LiveFleet, center: Center) -> None:
    """From 80 by 24 to 300 by 100 and back, each screen is drawn whole and keeps its headline."""
    with center(fleet) as tmux:
        tmux.until("● live")
        for columns, rows in ((300, 100), (50, 18), (200, 60), (80, 24)):
            tmux.resize(columns, rows)
            for key, word in (("2", "DEVICE"), ("3", "TOK/S"), ("6", "SIZE"), ("7", "WHAT")):
                tmux.press(key)
                screen = tmux.until(word)
                assert "● live" in screen.splitlines()[0]
                assert max(map(len, screen.splitlines())) <= columns


def test_a_host_that_cannot_be_reached_is_told_and_one_is_back(
    fleet: LiveFleet, center: Center
) -> None:
    """The command that adds a host has the terminal; its failure is read, Enter comes back."""
    with center(fleet) as tmux:
        tmux.until("● live")
        tmux.press("2")
        tmux.until("DEVICE")
        tmux.press("a")
        tmux.until("add a host")
        tmux.type("nobody@127.0.0.9")
        tmux.press("Enter")
        tmux.until("$ rbee hive add nobody@127.0.0.9 --install")
        tmux.press("y")
        told = tmux.until("Enter goes back to the control center")
        assert "127.0.0.9" in told
        assert "ended with 0" not in told
        tmux.press("Enter")
        tmux.until("● live")


def test_a_dumb_terminal_is_refused_with_the_way_out(fleet: LiveFleet) -> None:
    """TERM=dumb: no screen is drawn, and what works instead is named."""
    tmux = Tmux(fleet, term="dumb")
    try:
        screen = tmux.until("ended with 2")
    finally:
        tmux.end()

    assert "rbee --no-tui" in screen
