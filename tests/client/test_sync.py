"""The SDK for code without an event loop."""

from __future__ import annotations

import asyncio

from rbee_agent.client import QueenClient, SyncQueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.testing.scripted_queen import ScriptedQueen


async def test_calls_and_streams_from_ordinary_code(scripted: ScriptedQueen) -> None:
    """The same answers without await, also while a loop runs in the calling process."""

    def ordinary() -> tuple[str, str, str]:
        with SyncQueenClient(scripted.url) as queen:
            request = TaskRequest(model="m", prompt="p")
            return (
                queen.health().status,
                "".join(queen.text(request)),
                queen.run(request).text,
            )

    whole = "".join(scripted.words)
    assert await asyncio.to_thread(ordinary) == ("ok", whole, whole)


def test_the_two_clients_have_the_same_calls() -> None:
    """Whatever the asynchronous client can do, ordinary code can do too."""

    def calls(kind: type[object]) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert calls(QueenClient) == calls(SyncQueenClient)


async def test_leaving_early_cancels(scripted: ScriptedQueen) -> None:
    """Breaking out of a stream and closing it cancels the task on the queen."""
    scripted.hold_at = 2

    def ordinary() -> None:
        with SyncQueenClient(scripted.url) as queen:
            events = queen.stream(TaskRequest(model="m", prompt="p", task_id="t-1"))
            for event in events:
                if event.event == "token":
                    break
            events.close()  # type: ignore[attr-defined]

    await asyncio.to_thread(ordinary)
    assert scripted.cancelled == {"t-1"}
