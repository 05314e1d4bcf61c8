"""Text over the screen, which grows while one reads: what logs and running commands share."""

from __future__ import annotations

from typing import TypeVar

from textual.app import ComposeResult
from textual.screen import ModalScreen

from rbee_tui.widgets.token_view import TokenView
from rbee_tui.widgets.tones import content

R = TypeVar("R")


class TextScreen(ModalScreen[R]):
    """A frame with a title above, a line about keys below, and the text; `c` copies all of it."""

    DEFAULT_CSS = """
    TextScreen { align: center middle; }
    TextScreen > TokenView {
        width: 96; max-width: 100%; height: 90%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1;
    }
    """

    def __init__(self, title: str, *, notice: str = "") -> None:
        """Make it.

        Args:
            title: what is read.
            notice: stands there until there is text.
        """
        super().__init__()
        self._title = title
        self._notice = notice

    def compose(self) -> ComposeResult:
        """The text."""
        yield TokenView(notice=self._notice)

    def on_mount(self) -> None:
        """The keys are for the text."""
        self.query_one(TokenView).border_title = content(self._title)
        self.query_one(TokenView).focus()

    def say(self, text: str) -> None:
        """Add to the text."""
        for view in self.query(TokenView):  # gone while the app is left
            view.append(text)

    def below(self, text: str) -> None:
        """Say something in the frame's lower line."""
        for view in self.query(TokenView):
            view.border_subtitle = content(text)

    def action_copy(self) -> None:
        """Copy everything to the terminal's clipboard (OSC 52)."""
        self.app.copy_to_clipboard(self.query_one(TokenView).text)
        self.app.notify("copied", timeout=2)
