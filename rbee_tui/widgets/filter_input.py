"""FilterInput: the `/` line of a table."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterInput(Input):
    """Filters while one types; Enter goes back to the table, Escape clears."""

    DEFAULT_CSS = """
    FilterInput { display: none; background: $panel; padding: 0 1; }
    FilterInput.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "clear", id="filter.clear", tooltip="Clear the filter"),
        Binding("enter,down", "done", "to the table", id="filter.done",
                tooltip="Keep the filter and go to the table"),
    ]  # fmt: skip

    class Done(Message):
        """Back to the table."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(placeholder="filter: words, !without", compact=True, id=id)

    def open(self) -> None:
        """Show it and type."""
        self.add_class("-open")
        self.focus()

    def clear_filter(self) -> None:
        """No filter, and out of the way."""
        self.value = ""
        self.remove_class("-open")

    def action_clear(self) -> None:
        """Clear and go back."""
        self.clear_filter()
        self.post_message(self.Done())

    def action_done(self) -> None:
        """Go back; an empty filter goes out of the way."""
        if not self.value:
            self.remove_class("-open")
        self.post_message(self.Done())
