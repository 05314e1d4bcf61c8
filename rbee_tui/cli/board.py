"""What goes on with each of many hosts, on stderr.

On a terminal every host has one line that is rewritten, with the seconds of its present step;
elsewhere each step is a line, and how far it is comes now and then. What must not be overlooked
stays in both.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rbee_tui.cli.output import note, width
from rbee_tui.state.clean import clean

TICK_S = 0.5
QUIET_S = 15.0
"""Without a terminal, how far a step is said so often at most."""


@dataclass(slots=True)
class _Row:
    text: str
    detail: str
    began: float
    said: float


class Board:
    """Shows steps; an async context manager that wipes the rewritten lines at its end."""

    def __init__(
        self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self.live = self._stream.isatty()
        """Whether lines are rewritten."""
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._painted = 0
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self.live:
            self._ticking = asyncio.create_task(self._tick(), name="board")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self._wipe()

    def tell(self, host: str, text: str, detail: str = "", /, *, lasting: bool = False) -> None:
        """Show what is done with a host now; `lasting` words are never overwritten."""
        now = self._now()
        row = self._rows.get(host)
        fresh = row is None or row.text != text
        if row is None or fresh:
            row = self._rows[host] = _Row(text, detail, now, now)
        row.detail = detail
        if self.live:
            if lasting:
                self._wipe()
                note(f"{host}: {text}")
                row.text = text.splitlines()[0]
            if fresh:
                self._paint()
        elif fresh or now - row.said >= QUIET_S:
            row.said = now
            note(f"{host}: {text} {detail}".rstrip())

    def drop(self, host: str) -> None:
        """Show no line of it any more."""
        self._rows.pop(host, None)
        if self.live:
            self._paint()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._paint()

    def _paint(self) -> None:
        columns, lines = shutil.get_terminal_size()
        names = max((width(name) for name in self._rows), default=0)
        shown = list(self._rows.items())
        if len(shown) > lines - 2:
            # Those that something happens with; the rest is told at the end.
            shown = sorted(shown, key=lambda item: -item[1].began)[: max(1, lines - 2)]
        painted = []
        for name, row in shown:
            took = f"{self._now() - row.began:.0f} s"
            text = clean(f"{name.ljust(names)}  {row.text} {row.detail}".rstrip())
            painted.append(f"{text[: columns - 8]}  {took}")
        self._wipe()
        self._stream.write("".join(line + "\n" for line in painted))
        self._stream.flush()
        self._painted = len(painted)

    def _wipe(self) -> None:
        if self._painted:
            # A key that was pressed stands in front of the cursor, as ^C does.
            self._stream.write(f"\r\x1b[{self._painted}A\x1b[J")
            self._stream.flush()
            self._painted = 0
