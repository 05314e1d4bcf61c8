"""``rbee demo`` on a terminal: the control center opens on a live stream; quitting stops all."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable

import pytest

from rbee_agent.testing.live_fleet import LiveFleet

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


class Screen:
    """A command on a pseudo-terminal of 100 by 30, and all that it has drawn."""

    def __init__(self, fleet: LiveFleet, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rbee_tui", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**fleet.env, "TERM": "xterm-256color"},
            cwd=fleet.root,
            start_new_session=True,
        )
        os.close(theirs)
        self.drawn = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # the last process let go of the terminal
                chunk = b""
            with self._more:
                self.drawn += chunk.decode(errors="replace")
                self._more.notify_all()
            if not chunk:
                return

    def until(self, text: str, *, timeout: float = 90.0) -> None:
        """Wait until that text was drawn."""
        with self._more:
            there = self._more.wait_for(lambda: text in self.drawn, timeout)
        assert there, f"{text!r} was never drawn; the end was: {self.drawn[-2000:]!r}"

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait for the command; returns its exit code."""
        code = self.process.wait(timeout=60.0)
        self._reader.join(timeout=5.0)
        os.close(self._ours)
        return code


def test_quitting_stops_all_that_the_demo_started(new_fleet: Callable[..., LiveFleet]) -> None:
    """The first prompt streams in the control center; q, then s: exit 0 and no process is left."""
    fleet = new_fleet()
    screen = Screen(fleet, "demo", "--max-tokens", "64")
    try:
        screen.until("live")
        screen.until(" tok")
        screen.press("q")
        screen.until("stop all")
        screen.press("s")
        code = screen.end()
    finally:
        if screen.process.poll() is None:
            screen.process.kill()
            screen.process.wait()

    assert code == 0
    assert fleet.processes() == []
