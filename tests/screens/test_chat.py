"""Chat: an answer comes as it is made, can be cancelled, and a lost one gives the prompt back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from rbee_agent.contracts.tasks import Accepted, TaskRequest
from rbee_agent.errors import Unavailable
from rbee_agent.wire.sse import ServerEvent
from rbee_tui.app import RbeeApp
from rbee_tui.panes.prompt_bar import PromptInput
from rbee_tui.setup import ExitCode
from rbee_tui.widgets.token_view import TokenView


class Talker:
    """A queen whose answer begins at once and goes on until it is cancelled or let go."""

    def __init__(self, app: RbeeApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[TaskRequest] = []
        self.cancelled: list[str] = []
        self.let_go = asyncio.Event()
        self.full = False
        for name in ("submit", "task_events", "cancel"):
            monkeypatch.setattr(app.link, name, getattr(self, name), raising=False)

    async def submit(self, request: TaskRequest) -> Accepted:
        """Take it, unless there is no room."""
        if self.full:
            raise Unavailable("the queue is full", code="ADMISSION_REJECT")
        self.asked.append(request)
        return Accepted(job_id="task-chat")

    async def task_events(self, job_id: str) -> AsyncIterator[ServerEvent]:
        """Two words, then silence until it ends."""
        yield event("started", worker_id="w-7f3k")
        yield event("token", t="Bees hum", i=0)
        await self.let_go.wait()
        if self.cancelled:
            yield event("error", code="CANCELLED", message="the task was cancelled")
            return
        yield event("token", t=" loudly.", i=1)
        yield event("end", tokens_in=9, tokens_out=2, decode_time_ms=100, finish_reason="stop")

    async def cancel(self, job_id: str) -> None:
        """The stream ends by itself then."""
        self.cancelled.append(job_id)
        self.let_go.set()


def event(name: str, **data: Any) -> ServerEvent:
    """A frame as the SDK gives it."""
    return ServerEvent(name, json.dumps({"type": name, **data}), None)


def talk(app: RbeeApp) -> str:
    """The conversation as it is drawn."""
    return app.screen.query_one("#talk", TokenView).text


async def until(pilot: Pilot[ExitCode], wanted: Callable[[], Any]) -> None:
    """Wait until something is so."""
    for _ in range(300):
        if wanted():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come so")


async def test_an_answer_is_shown_as_it_comes(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first words stand there before the last are made; then the answer's bill."""
    app = acting()
    talker = Talker(app, monkeypatch)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", *"Do bees hum?", "enter")
        await until(pilot, lambda: "Bees hum" in talk(app))
        assert "loudly" not in talk(app)
        talker.let_go.set()
        await until(pilot, lambda: "loudly." in talk(app))

        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: len(talker.asked) == 2)
        turns = [turn.text() for turn in talker.asked[1].messages or ()]
        assert turns == ["Do bees hum?", "Bees hum loudly.", "Why?"]


async def test_x_cancels_the_answer(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is cancelled at the queen; what was said stays."""
    app = acting()
    talker = Talker(app, monkeypatch)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", *"Do bees hum?", "enter")
        await until(pilot, lambda: "Bees hum" in talk(app))
        await pilot.press("escape", "x")
        await until(pilot, lambda: "cancelled" in talk(app))

        assert talker.cancelled == ["task-chat"]
        assert "Bees hum" in talk(app)


async def test_a_prompt_that_was_refused_comes_back(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody types a prompt twice because a queue was full."""
    app = acting()
    talker = Talker(app, monkeypatch)
    talker.full = True
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", *"Do bees hum?", "enter")
        await until(pilot, lambda: "queue is full" in talk(app))
        field = app.screen.query_one(PromptInput)
        await until(pilot, lambda: field.value == "Do bees hum?")
