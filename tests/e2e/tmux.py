"""``rbee`` in tmux, as a person has it: keys go in, and what is on the screen comes out."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from rbee_agent.testing.live_fleet import LiveFleet

LOOK_S = 0.1
"""tmux tells nobody that a screen changed: one has to look."""
_NUMBERS = itertools.count()


class Tmux:
    """One tmux server of its own, with one window that runs ``rbee ARGS``, then a shell."""

    def __init__(
        self,
        fleet: LiveFleet,
        *args: str,
        size: tuple[int, int] = (80, 24),
        term: str = "tmux-256color",
    ) -> None:
        # Of its own: the server before it may still be ending on its socket.
        self._socket = fleet.root / f"tmux-{next(_NUMBERS)}"
        self._env = {**fleet.env, "TERM": "xterm-256color", "PS1": "$ "}
        columns, rows = map(str, size)
        command = shlex.join([sys.executable, "-m", "rbee_tui", *args])
        self._tmux(
            *("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, "-c"),
            *(str(fleet.root), f"TERM={term} {command}; echo ended with $?; exec cat"),
        )

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            env=self._env, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        return done.stdout

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, one after the other."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        """Type text as it is."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        """Another size of the window."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, colours: bool = False) -> str:
        """What is on the screen now."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def until(self, wanted: str | Callable[[str], bool], *, seconds: float = 90.0) -> str:
        """Look until that is on the screen; returns the screen."""
        sees = (lambda text: wanted in text) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        while True:
            seen = self.screen()
            if sees(seen):
                return seen
            assert time.monotonic() < deadline, f"{wanted} did not come; there is:\n{seen}"
            time.sleep(LOOK_S)

    def end(self) -> None:
        """End the server and what runs in it."""
        subprocess.run(
            ["tmux", "-S", str(self._socket), "kill-server"], env=self._env, check=False,
            capture_output=True,
        )  # fmt: skip


def lines(screen: str, word: str) -> Sequence[str]:
    """The lines of a screen that have the word."""
    return [line for line in screen.splitlines() if word in line]
