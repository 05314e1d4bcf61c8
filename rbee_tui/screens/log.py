"""Log: a worker's log over the screen, which goes on while one reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from rbee_agent.errors import NotFound, RbeeError
from rbee_tui.state.clean import clean
from rbee_tui.widgets.token_view import TokenView
from rbee_tui.widgets.tones import content

ASK_S: Final = 1.0
"""The queen has no feed of logs: she is asked so often, while the log is open."""
MISSED: Final = "… lines went by faster than they were asked for …"

Ask = Callable[[], Awaitable[Sequence[str]]]


class LogScreen(ModalScreen[None]):
    """Follows the end until the reader scrolls up; Escape closes, `c` copies all that was seen."""

    DEFAULT_CSS = """
    LogScreen { align: center middle; }
    LogScreen > TokenView {
        width: 96; max-width: 100%; height: 90%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1;
    }
    """
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
        super().__init__()
        self._title = title
        self._ask = ask
        self._every_s = every_s
        self._last: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        """The text."""
        yield TokenView(notice="it said nothing yet")

    def on_mount(self) -> None:
        """Ask until it is closed."""
        self._view.border_title = content(self._title)
        self._say("")
        self._view.focus()
        self.run_worker(self._follow(), name="log")

    @property
    def _view(self) -> TokenView:
        return self.query_one(TokenView)

    def _say(self, trouble: str) -> None:
        keys = "G follows, c copies, Esc closes"
        self._view.border_subtitle = content((trouble and f"▲ {clean(trouble)} · ") + keys)

    async def _follow(self) -> None:
        while True:
            try:
                lines = await self._ask()
            except NotFound:
                self._say("it is gone; this was its log")
                return
            except RbeeError as error:
                self._say(error.message)
            else:
                self._say("")
                self._add(lines)
            await asyncio.sleep(self._every_s)

    def _add(self, lines: Sequence[str]) -> None:
        new = later(self._last, lines)
        self._last = lines
        if new:
            self._view.append("".join(f"{line}\n" for line in new))

    def action_close(self) -> None:
        """Close it."""
        _ = self.dismiss(None)

    def action_copy(self) -> None:
        """Copy everything to the terminal's clipboard (OSC 52)."""
        self.app.copy_to_clipboard(self._view.text)
        self.app.notify("copied", timeout=2)


def later(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The lines of `now` that follow those of `before`; both are the last lines of one log.

    A log that repeats one line for ever says nothing new: the longest agreement counts.
    """
    for common in range(min(len(before), len(now)), 0, -1):
        if list(before[-common:]) == list(now[:common]):
            return list(now[common:])
    return [MISSED, *now] if before and now else list(now)
