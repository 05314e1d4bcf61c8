"""Log: a worker's log over the screen, which goes on while one reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from rbee_agent.errors import NotFound, RbeeError
from rbee_tui.state.clean import clean
from rbee_tui.widgets.text_screen import TextScreen

ASK_S: Final = 1.0
"""The queen has no feed of logs: she is asked so often, while the log is open."""
MISSED: Final = "… lines went by faster than they were asked for …"

Ask = Callable[[], Awaitable[Sequence[str]]]


class LogScreen(TextScreen[None]):
    """Follows the end until the reader scrolls up; Escape closes, `c` copies all that was seen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close", id="log.close", tooltip="Close the log"),
        Binding("c", "copy", "copy", id="log.copy", tooltip="Copy all that was seen of it"),
    ]

    def __init__(self, title: str, ask: Ask, *, every_s: float = ASK_S) -> None:
        """Make a log.

        Args:
            title: whose it is.
            ask: gives its last lines, oldest first.
            every_s: seconds between two questions.
        """
        super().__init__(title, notice="it said nothing yet")
        self._ask = ask
        self._every_s = every_s
        self._last: Sequence[str] = ()

    def on_mount(self) -> None:
        """Ask until it is closed."""
        self._trouble("")
        self.run_worker(self._follow(), name="log")

    def _trouble(self, trouble: str) -> None:
        self.below((trouble and f"▲ {clean(trouble)} · ") + "G follows, c copies, Esc closes")

    async def _follow(self) -> None:
        while True:
            try:
                lines = await self._ask()
            except NotFound:
                self._trouble("it is gone; this was its log")
                return
            except RbeeError as error:
                self._trouble(error.message)
            else:
                self._trouble("")
                self._add(lines)
            await asyncio.sleep(self._every_s)

    def _add(self, lines: Sequence[str]) -> None:
        new = later(self._last, lines)
        self._last = lines
        if new:
            self.say("".join(f"{line}\n" for line in new))

    def action_close(self) -> None:
        """Close it."""
        _ = self.dismiss(None)


def later(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The lines of `now` that follow those of `before`; both are the last lines of one log.

    A log that repeats one line for ever says nothing new: the longest agreement counts.
    """
    for common in range(min(len(before), len(now)), 0, -1):
        if list(before[-common:]) == list(now[:common]):
            return list(now[common:])
    return [MISSED, *now] if before and now else list(now)
