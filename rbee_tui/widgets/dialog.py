"""Dialogs: a question with a few answers; the harmless one has the focus, Escape takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from rbee_tui.widgets.tones import Cell, content


@dataclass(frozen=True, slots=True)
class Answer:
    """One button: its value, its label, the letter that presses it."""

    value: str
    label: str
    key: str
    danger: bool = False


class Question(ModalScreen[str]):
    """Asks; the result is the value of the answer, or the value of the last one for Escape."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Vertical {
        width: 72; max-width: 95%; height: auto; max-height: 90%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1;
    }
    Question VerticalScroll { height: auto; max-height: 16; }
    Question Static { height: auto; }
    Question #answers { height: auto; align-horizontal: right; margin-top: 1; }
    Question Button { margin-left: 1; min-width: 8; height: 1; border: none; }
    Question Button:focus { text-style: bold reverse; border: none; }
    Question Input { height: 1; border: none; background: $panel; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", id="dialog.cancel", tooltip="Do nothing"),
        Binding("left", "app.focus_previous", show=False, id="dialog.left", tooltip="Left"),
        Binding("right", "app.focus_next", show=False, id="dialog.right", tooltip="Right"),
    ]

    def __init__(
        self,
        title: str,
        lines: Sequence[Cell],
        answers: Sequence[Answer],
        *,
        type_this: str | None = None,
    ) -> None:
        """Make a question.

        Args:
            title: what is asked.
            lines: what the person should know, one line each.
            answers: the last one is the harmless one.
            type_this: a name that must be typed before a dangerous answer is taken.
        """
        super().__init__()
        self._title = title
        self._lines = lines
        self._answers = answers
        self._type_this = type_this

    def compose(self) -> ComposeResult:
        """The text, then the answers."""
        with Vertical() as box:
            box.border_title = content(self._title)
            with VerticalScroll(can_focus=False):
                for line in self._lines:
                    yield Static(content(line))
            if self._type_this is not None:
                yield Input(placeholder=f"type {self._type_this} to confirm", compact=True)
            with Horizontal(id="answers"):
                for answer in self._answers:
                    yield Button(
                        content(f"{answer.label} ({answer.key})"),
                        id=f"answer-{answer.value}",
                        variant="error" if answer.danger else "default",
                        compact=True,
                    )

    def on_mount(self) -> None:
        """The harmless answer has the focus; where a name is asked for, its field."""
        if self._type_this is not None:
            self.query_one(Input).focus()
        else:
            self.query_one(f"#answer-{self._answers[-1].value}", Button).focus()

    def on_key(self, event: events.Key) -> None:
        """An answer's letter answers, and never reaches the screen below."""
        if isinstance(self.focused, Input):
            return
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self._give(answer)
                return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A press answers."""
        event.stop()
        for answer in self._answers:
            if event.button.id == f"answer-{answer.value}":
                self._give(answer)
                return

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The typed name allows the first answer."""
        event.stop()
        self._give(self._answers[0])

    def _give(self, answer: Answer) -> None:
        if answer.danger and self._type_this is not None:
            field = self.query_one(Input)
            if field.value.strip() != self._type_this:
                field.focus()
                self.app.bell()
                return
        _ = self.dismiss(answer.value)

    def action_cancel(self) -> None:
        """Take the harmless answer."""
        _ = self.dismiss(self._answers[-1].value)
