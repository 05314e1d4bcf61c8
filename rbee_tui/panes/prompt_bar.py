"""The prompt line: what to ask, and which model; one line above the footer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from rbee_agent.contracts.workers import WorkerState
from rbee_tui.state.view import View
from rbee_tui.widgets.line import Line


class PromptInput(Input):
    """The field; Tab takes the next model, Up and Down walk through what was sent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "model(1)", "next model", id="prompt.model", tooltip="The next model"),
        Binding("shift+tab", "model(-1)", show=False, id="prompt.model-back",
                tooltip="The model before"),
        Binding("up", "past(-1)", show=False, id="prompt.older", tooltip="The prompt sent before"),
        Binding("down", "past(1)", show=False, id="prompt.newer", tooltip="The prompt sent after"),
        Binding("escape", "leave", "leave", id="prompt.leave", tooltip="Leave the prompt line"),
    ]  # fmt: skip

    def action_model(self, step: int) -> None:
        """Another model."""
        self.query_ancestor(PromptBar).next_model(step)

    def action_past(self, step: int) -> None:
        """Another prompt of before."""
        self.query_ancestor(PromptBar).recall(step)

    def action_leave(self) -> None:
        """Back to the panes; what was typed stays."""
        self.screen.set_focus(None)


class PromptBar(Horizontal):
    """Model and prompt."""

    DEFAULT_CSS = """
    PromptBar { height: 1; background: $panel; }
    PromptBar Line { width: auto; min-width: 4; max-width: 34; }
    PromptBar PromptInput { width: 1fr; background: $panel; }
    """
    MOST_REMEMBERED: ClassVar[int] = 50

    @dataclass
    class Sent(Message):
        """A prompt was entered."""

        model: str
        prompt: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model: str | None = None
        self._models: list[str] = []
        self._past: list[str] = []
        self._at = 0

    def compose(self) -> ComposeResult:
        """The model, then the field."""
        yield Line(id="prompt-model")
        yield PromptInput(placeholder="p: send a prompt", compact=True, id="prompt-input")

    def show(self, view: View) -> None:
        """Offer the models that can answer: those with a ready worker first."""
        self._models = offered(view)
        if self.model not in self._models:
            self.model = self._models[0] if self._models else None
        self._draw()

    def next_model(self, step: int) -> None:
        """Take the next model of those offered."""
        if self._models:
            at = self._models.index(self.model) if self.model in self._models else 0
            self.model = self._models[(at + step) % len(self._models)]
            self._draw()

    def recall(self, step: int) -> None:
        """Put a prompt that was sent before into the field."""
        if self._past:
            self._at = min(len(self._past), max(0, self._at + step))
            field = self.query_one(PromptInput)
            field.value = self._past[self._at] if self._at < len(self._past) else ""
            field.cursor_position = len(field.value)

    def restore(self, prompt: str) -> None:
        """Sending failed: the prompt is back in the field, unless another was begun."""
        field = self.query_one(PromptInput)
        if not field.value:
            field.value = prompt
            field.cursor_position = len(prompt)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter sends."""
        event.stop()
        prompt = event.value.strip()
        if not prompt:
            return
        if self.model is None:
            self.app.notify("There is no model to ask yet.", severity="warning", markup=False)
            return
        self._past = [*self._past[-(self.MOST_REMEMBERED - 1) :], prompt]
        self._at = len(self._past)
        event.input.value = ""
        self.post_message(self.Sent(self.model, prompt))

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        """Say what the keys do while typing."""
        self._draw()

    def on_descendant_blur(self, _event: events.DescendantBlur) -> None:
        """Say how to come back."""
        self._draw()

    def _draw(self) -> None:
        field = self.query_one(PromptInput)
        field.placeholder = (
            "type a prompt, Enter sends, Tab takes another model, Esc leaves"
            if field.has_focus
            else "p: send a prompt"
        )
        name = self.model or "no model"
        line = self.query_one("#prompt-model", Line)
        cell = ((f" {name} ", "accent" if self.model else "muted"), ("› ", "strong"))
        line.styles.width = sum(len(text) for text, _ in cell)
        line.show(cell)


def offered(view: View) -> list[str]:
    """Models to choose from: with a ready worker, then on a host's disk, then in the catalog."""
    fleet = view.fleet
    ready = {w.model for w in fleet.workers.values() if w.state is WorkerState.READY}
    coming = {w.model for w in fleet.workers.values()} - ready
    on_disk = {model for node in fleet.nodes.values() for model in node.models}
    known = {model.id for model in fleet.models.values() if model.state == "Active"}
    seen: list[str] = []
    for group in (ready, coming, on_disk & known, known):
        seen += sorted(group - set(seen))
    return seen
