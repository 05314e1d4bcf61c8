"""``rbee`` on a pseudo-terminal: what it draws, as bytes, as they come."""

from __future__ import annotations

import codecs
import fcntl
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

KEPT = 200_000
"""Characters of the newest output that are held."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNFINISHED = re.compile(r"\x1b(\[[0-9;]*)?$")


class Terminal:
    """A command on a pseudo-terminal, and what it has drawn, without its colours."""

    def __init__(
        self, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, size: tuple[int, int]
    ) -> None:
        self._ours, theirs = pty.openpty()
        columns, rows = size
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rbee_tui", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(theirs)
        self.drawn = ""
        self.count = 0
        """Bytes that ever came."""
        self._rest = ""
        """The beginning of a sequence that is not whole yet."""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # the last process let go of the terminal
                chunk = b""
            with self._more:
                self.count += len(chunk)
                text = self._rest + decoder.decode(chunk)
                cut = UNFINISHED.search(text)
                end = cut.start() if cut else len(text)
                self._rest = text[end:]
                self.drawn = (self.drawn + COLOURS.sub("", text[:end]))[-KEPT:]
                self._more.notify_all()
            if not chunk:
                return

    def until(self, text: str, *, timeout: float = 90.0) -> None:
        """Wait until that text was drawn."""
        with self._more:
            there = self._more.wait_for(lambda: text in self.drawn, timeout)
        assert there, f"{text!r} was never drawn; the end was: {self.drawn[-2000:]!r}"

    def time_to(self, keys: str, text: str, *, timeout: float = 5.0) -> float:
        """Seconds from these keys to the first sight of that text; infinite where it never came."""
        with self._more:
            self.drawn = ""
        began = time.perf_counter()
        self.press(keys)
        with self._more:
            there = self._more.wait_for(lambda: text in self.drawn, timeout)
        return time.perf_counter() - began if there else math.inf

    def when(self, found: Callable[[], T | None], *, timeout: float = 5.0) -> T | None:
        """Wait until something can be found in what was drawn; None where it never came."""
        with self._more:
            return self._more.wait_for(found, timeout)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait for the command; returns its exit code."""
        code = self.process.wait(timeout=60.0)
        self._reader.join(timeout=5.0)
        os.close(self._ours)
        return code

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
