"""Picker: choose one of many by typing a part of it; for palettes, `:` lines and choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.fuzzy import Matcher
from textual.screen import ModalScreen
from textual.widgets import Input

from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.rows import Column, Row
from rbee_tui.widgets.tones import content

MOST_SHOWN = 100
HELP_SCORE = 0.01
"""Less than any name that fits."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to pick: its value, how it is called, and what it is."""

    value: str
    name: str
    help: str = ""


Typed = Callable[[str], Sequence[Option]]
"""Further options that come from what was typed, put before the ones that match."""


class Picker(ModalScreen[str | None]):
    """A field and a list; the result is the value picked, None for Escape."""

    DEFAULT_CSS = """
    Picker { align: center middle; }
    Picker.-docked { align: left bottom; }
    Picker > Vertical {
        width: 90; max-width: 100%; height: auto; max-height: 80%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1;
    }
    Picker.-docked > Vertical { width: 100%; border: none; border-top: solid $border; }
    Picker Input { height: 1; border: none; background: $panel; }
    Picker LiveTable { height: auto; max-height: 16; border: none; padding: 0;
        background: $surface; }
    Picker LiveTable > .table--cursor-blurred { background: $block-cursor-background;
        text-style: $block-cursor-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", id="picker.cancel", tooltip="Pick nothing"),
        Binding("down,ctrl+n", "move(1)", "down", show=False, id="picker.down", priority=True,
                tooltip="Down the list"),
        Binding("up,ctrl+p", "move(-1)", "up", show=False, id="picker.up", priority=True,
                tooltip="Up the list"),
        Binding("tab", "complete", "complete", show=False, id="picker.complete", priority=True,
                tooltip="Take the name under the cursor into the field"),
    ]  # fmt: skip

    def __init__(
        self,
        title: str,
        options: Sequence[Option],
        *,
        placeholder: str = "",
        typed: Typed | None = None,
        docked: bool = False,
    ) -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._typed = typed
        self._placeholder = placeholder
        self._names: dict[str, str] = {}
        self.set_class(docked, "-docked")

    def compose(self) -> ComposeResult:
        """The field over the list."""
        columns = (Column("name", "", 30, grow=2), Column("help", "", 20, grow=3))
        with Vertical() as box:
            box.border_title = content(self._title)
            yield Input(placeholder=self._placeholder, compact=True)
            yield LiveTable(columns, header=False, empty="nothing matches")

    def on_mount(self) -> None:
        """Everything is offered before anything is typed."""
        self._offer("")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what matches."""
        event.stop()
        self._offer(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Pick what is under the cursor."""
        event.stop()
        self._pick()

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """A click picks."""
        event.stop()
        self._pick()

    def _offer(self, text: str) -> None:
        found = [*(self._typed(text) if self._typed is not None else ())]
        taken = {option.value for option in found}
        found += [o for o in match(text, self._options) if o.value not in taken]
        rows = [
            Row(o.value, (((o.name, "strong"),), ((o.help, "muted"),))) for o in found[:MOST_SHOWN]
        ]
        self._names = {o.value: o.name for o in found[:MOST_SHOWN]}
        table = self.query_one(LiveTable)
        table.set_rows(rows)
        table.action_edge(0)

    def _pick(self) -> None:
        row = self.query_one(LiveTable).cursor
        if row is None:
            self.app.bell()
        else:
            _ = self.dismiss(row.key)

    def action_move(self, step: int) -> None:
        """Along the list, while the field keeps the focus."""
        self.query_one(LiveTable).action_move(step)

    def action_complete(self) -> None:
        """The name under the cursor becomes what is typed."""
        row = self.query_one(LiveTable).cursor
        if row is not None:
            field = self.query_one(Input)
            field.value = self._names[row.key]
            field.cursor_position = len(field.value)

    def action_cancel(self) -> None:
        """Pick nothing."""
        _ = self.dismiss(None)


def match(text: str, options: Sequence[Option]) -> list[Option]:
    """The options that the text fits, best first: their names loosely, their help to the letter."""
    wanted = text.strip()
    if not wanted:
        return list(options)
    matcher = Matcher(wanted)
    in_help = wanted.casefold()
    scored = [
        (matcher.match(o.name) or HELP_SCORE * (in_help in o.help.casefold()), o) for o in options
    ]
    fitting = [(score, o) for score, o in scored if score > 0]
    fitting.sort(key=lambda item: item[0], reverse=True)
    return [option for _, option in fitting]
