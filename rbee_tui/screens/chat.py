"""Chat: talk to any model, with parameters, a seed, and the timings of each answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pydantic import ValidationError
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.worker import Worker

from rbee_agent.contracts.tasks import Message, TaskRequest
from rbee_agent.errors import RbeeError, from_body
from rbee_agent.wire.sse import ServerEvent
from rbee_tui.feed.source import QueenLink
from rbee_tui.panes.prompt_bar import PromptBar, PromptInput
from rbee_tui.screens.base import FleetScreen
from rbee_tui.state.clean import clean
from rbee_tui.state.units import millis, rate
from rbee_tui.state.view import View
from rbee_tui.widgets.line import Line
from rbee_tui.widgets.token_view import TokenView

FLUSH_S: Final = 0.1
MAX_TOKENS: Final = 1024
MOST_TURNS: Final = 200
PARAMETERS: Final = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "max_tokens": int,
    "seed": int,
    "repetition_penalty": float,
}


NOTICE: Final = "p writes to the model; where there is none yet: Esc, then 6, then a"


@dataclass
class Talk:
    """The conversation so far, as the next request tells it."""

    turns: list[Message] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=lambda: {"max_tokens": MAX_TOKENS})

    def request(self, model: str) -> TaskRequest:
        """The next task.

        Raises:
            pydantic.ValidationError: a parameter is out of its range.
        """
        return TaskRequest(
            model=model, messages=self.turns[-MOST_TURNS:], workload="chat", **self.parameters
        )

    def set(self, word: str) -> str:
        """Take `name=value`, or `name=` for the default; says what is so now.

        Raises:
            ValueError: no such parameter, or no such value.
        """
        name, _, value = word.partition("=")
        kind = PARAMETERS.get(name)
        if kind is None:
            raise ValueError(f"there is no {name}: {', '.join(PARAMETERS)}")
        if not value:
            self.parameters.pop(name, None)
            return f"{name} is the default"
        self.parameters[name] = kind(value)
        return f"{name} is {value}"


class Chat(FleetScreen):
    """A conversation; `/set temperature=0.2 seed=7` changes how it is sampled."""

    NAME = "chat"
    DEFAULT_CSS = """
    Chat #talk { height: 1fr; }
    Chat #how { background: $panel; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,i", "prompt", "write", id="chat.prompt", tooltip="Write to the model"),
        Binding("x", "cancel", "cancel", id="chat.cancel", tooltip="Cancel the answer"),
        Binding("ctrl+l", "clear", "new talk", id="chat.clear", tooltip="Begin a new conversation"),
        Binding("c", "copy", "copy", show=False, id="chat.copy", tooltip="Copy the conversation"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self._job: str | None = None
        self._pending = ""
        self._answering: Worker[None] | None = None
        self._timings = "Enter sends; /set temperature=0.2 seed=7 changes parameters"

    @property
    def crumbs(self) -> str:
        """The screen's name."""
        return "chat"

    def body(self) -> ComposeResult:
        """The conversation, how it is sampled, the prompt."""
        yield TokenView(id="talk", notice=NOTICE)
        yield Line(id="how")
        yield PromptBar(id="prompt")

    def on_mount(self) -> None:
        """One batch of tokens at ten a second."""
        super().on_mount()
        self.set_interval(FLUSH_S, self._flush)
        self.query_one(PromptInput).focus()

    def show(self, view: View) -> None:
        """Models come and go."""
        super().show(view)
        self.query_one(PromptBar).show(view)
        told = " ".join(f"{name}={value}" for name, value in self.talk.parameters.items())
        self.query_one("#how", Line).show(((told, "accent"), (f"  {self._timings}", "muted")))

    def on_prompt_bar_sent(self, event: PromptBar.Sent) -> None:
        """A turn, or a parameter."""
        event.stop()
        if event.prompt.startswith("/set"):
            self._set(event.prompt.removeprefix("/set").split())
            return
        link = self.center.link
        if self.center.read_only or link is None:
            self.center.actions.say("This control center is read-only.", severe=True)
            return
        if self._answering is not None and self._answering.is_running:
            self.center.actions.say("It still answers: x cancels.", severe=True)
            self.query_one(PromptBar).restore(event.prompt)
            return
        self.talk.turns.append(Message(role="user", content=event.prompt))
        try:
            request = self.talk.request(event.model)
        except ValidationError as error:
            self.talk.turns.pop()
            self.query_one(PromptBar).restore(event.prompt)
            first = error.errors(include_input=False)[0]
            self.center.actions.say(f"{first['loc'][0]}: {first['msg']}", severe=True)
            return
        self._write(f"{'' if len(self.talk.turns) == 1 else chr(10)}you › {clean(event.prompt)}\n")
        self._write(f"{event.model} › ")
        self._answering = self.run_worker(self._answer(link, request), group="chat")

    def _set(self, words: Sequence[str]) -> None:
        for word in words:
            try:
                self._timings = self.talk.set(word)
            except ValueError as error:
                self.center.actions.say(str(error), severe=True)
        self.refresh_view()

    async def _answer(self, link: QueenLink, request: TaskRequest) -> None:
        """Follow the answer to its end; what was typed comes back when there is none."""
        answer = ""
        try:
            accepted = await link.submit(request)
            self._job = accepted.job_id
            self.center.actions.remember(accepted.job_id, request)
            async with aclosing(link.task_events(accepted.job_id)) as frames:
                async for frame in frames:
                    answer += self._take(frame)
        except RbeeError as error:
            self._write(f"\n✖ {clean(error.message)}\n")
            self.center.actions.report(error)
        finally:
            self._job = None
        if answer:
            self.talk.turns.append(Message(role="assistant", content=answer))
            self._write("\n")
        else:
            prompt = self.talk.turns.pop().text()
            self.query_one(PromptBar).restore(prompt)
        self.refresh_view()

    def _take(self, frame: ServerEvent) -> str:
        """One frame: the text it brings."""
        data = json.loads(frame.data)
        if frame.event == "token":
            parts = data.get("batch") or [data]
            text = clean("".join(str(part.get("t", "")) for part in parts), lines=True)
            self._write(text)
            return text
        if frame.event == "queued":
            self._timings = f"waits at {data.get('queue_position')}: {data.get('reason') or ''}"
        elif frame.event == "started":
            self._timings = f"runs on {data.get('worker_id')}"
        elif frame.event == "end":
            self._timings = told_timings(data)
        elif frame.event == "error":
            raise from_body({"error": data})
        return ""

    def _write(self, text: str) -> None:
        self._pending += text

    def _flush(self) -> None:
        """Frames cost, tokens do not."""
        if self._pending:
            text, self._pending = self._pending, ""
            self.query_one("#talk", TokenView).append(text)
            self.refresh_view()

    def action_prompt(self) -> None:
        """Write."""
        self.query_one(PromptInput).focus()

    def action_cancel(self) -> None:
        """Cancel the answer at the queen; its stream then ends by itself."""
        link = self.center.link
        if self._job is not None and link is not None:
            self.run_worker(self._cancel(link, self._job), group="chat-cancel")

    async def _cancel(self, link: QueenLink, job_id: str) -> None:
        try:
            await link.cancel(job_id)
        except RbeeError as error:
            self.center.actions.report(error)

    def action_clear(self) -> None:
        """Forget the conversation."""
        self.talk.turns.clear()
        self._pending = ""
        self.query_one("#talk", TokenView).set_text("")
        self.center.actions.say("a new conversation")

    def action_copy(self) -> None:
        """Copy the conversation."""
        self.app.copy_to_clipboard(self.query_one("#talk", TokenView).text)
        self.app.notify("copied", timeout=2)

    def action_back(self) -> None:
        """Out of the prompt, then to the overview."""
        if self.focused is not None:
            self.set_focus(None)
        else:
            self.center.show_screen("overview")


def told_timings(end: dict[str, Any]) -> str:
    """The bill of an answer in one line."""
    out, spent = int(end.get("tokens_out", 0)), end.get("decode_time_ms")
    speed = f", {rate(out / (spent / 1000))} tok/s" if spent else ""
    resumed = f", moved {end['resumed']} times" if end.get("resumed") else ""
    return (
        f"{end.get('tokens_in', 0)} in ({end.get('tokens_cached', 0)} cached), {out} out{speed}, "
        f"first token {millis(end.get('first_token_ms'))}, {end.get('finish_reason')}{resumed}"
    )
