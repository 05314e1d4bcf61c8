"""Sheet: lines of text over the screen, to read and to copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from rbee_tui.widgets.tones import Cell, content, plain


class Sheet(ModalScreen[None]):
    """Shows lines; Escape closes, `c` copies all of them."""

    DEFAULT_CSS = """
    Sheet { align: center middle; }
    Sheet > Vertical {
        width: 96; max-width: 100%; height: auto; max-height: 96%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1;
    }
    Sheet VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
    Sheet Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close", id="sheet.close", tooltip="Close"),
        Binding("c", "copy", "copy", id="sheet.copy", tooltip="Copy all of it"),
        Binding("down,j", "scroll(1)", show=False, id="sheet.down", tooltip="Down"),
        Binding("up,k", "scroll(-1)", show=False, id="sheet.up", tooltip="Up"),
        Binding("pagedown,space,ctrl+d", "scroll(10)", show=False, id="sheet.pagedown",
                tooltip="Page down"),
        Binding("pageup,ctrl+u", "scroll(-10)", show=False, id="sheet.pageup", tooltip="Page up"),
    ]  # fmt: skip

    def __init__(self, title: str, lines: Sequence[Cell]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The lines, to scroll where there are many."""
        with Vertical() as box:
            box.border_title = content(self._title)
            box.border_subtitle = content("c copies, Esc closes")
            with VerticalScroll():
                for line in self._lines:
                    yield Static(content(line or " "))

    def action_close(self) -> None:
        """Close it."""
        _ = self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_copy(self) -> None:
        """Copy everything to the terminal's clipboard (OSC 52)."""
        self.app.copy_to_clipboard("\n".join(plain(line) for line in self._lines))
        self.app.notify("copied", timeout=2)
