"""A task handed in and read in one request: `POST /v2/tasks` by a caller that accepts events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from rbee_agent.contracts.tasks import Accepted
from rbee_agent.store.sqlite import SqliteStore
from rbee_agent.testing.worker import FakeWorker, answer
from rbee_agent.wire.sse import SseDecoder

BODY = {"model": "demo", "prompt": "hello bees", "max_tokens": 12, "task_id": "one"}
EVENTS = {"Accept": "text/event-stream"}


async def post(caller, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await caller.http.post("/v2/tasks", json={**BODY, **body}, headers=headers or EVENTS)


async def test_it_is_accepted_and_read_to_its_end(caller, hive, text):
    """First what the 202 would have said, then the frames that the events' own path gives."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    reply = await post(caller)
    events = SseDecoder().feed(reply.content)
    assert reply.status_code == 200
    assert reply.headers["Content-Location"] == "/v2/tasks/one/events"
    assert [e.event for e in events] == ["accepted", "started", *["token"] * 12, "end"]
    said = json.loads(events[0].data)
    assert said.pop("type") == "accepted"
    assert Accepted.model_validate(said).job_id == "one"
    assert text(events) == answer("hello bees", 12)
    assert await caller.events("one") == events[1:]


async def test_the_same_again_goes_on_behind_what_the_reader_has(caller, hive, text):
    """From memory and from the store; another body is a conflict still."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    first = SseDecoder().feed((await post(caller)).content)
    await caller.until(lambda: caller.queen.tasks.find("one") is None)
    again = SseDecoder().feed((await post(caller)).content)
    rest = SseDecoder().feed((await post(caller, EVENTS | {"Last-Event-ID": "5"})).content)
    assert text(again) == text(first)
    assert [e.id for e in rest] == [None, *map(str, range(6, 12)), "end"]
    assert (await post(caller, EVENTS | {"Last-Event-ID": "end"})).status_code == 204
    assert (await post(caller, prompt="another")).status_code == 409


async def test_a_refusal_is_an_http_error_with_its_code(caller):
    """Nothing was accepted, so no stream begins."""
    reply = await post(caller)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")
    reply = await post(caller, top_p=7)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_PARAMS")


async def test_who_does_not_ask_for_events_gets_the_answer(caller, hive):
    """`*/*`, as curl says, is the 202."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    reply = await post(caller, {"Accept": "*/*"})
    assert (reply.status_code, reply.json()["job_id"]) == (202, "one")


async def test_a_reader_that_goes_starts_the_grace(caller, hive):
    """In mid-stream, as with a reader of the events' own path."""
    worker = FakeWorker("w1", token_s=0.02)
    await hive.add(worker)
    await caller.register(hive)
    body = {**BODY, "max_tokens": 4000, "reconnect_grace_ms": 50}
    async with caller.http.stream("POST", "/v2/tasks", json=body, headers=EVENTS) as reply:
        async for line in reply.aiter_lines():
            if line == "event: token":
                break
    assert (await caller.until_state("one", "cancelled"))["error"]["code"] == "CANCELLED"


async def test_a_caller_that_hangs_up_before_the_answer_is_a_reader_that_went(
    caller, hive, monkeypatch
):
    """The task is accepted all the same, and ends with its grace where nobody comes back."""
    await hive.add(FakeWorker("w1", token_s=0.02))
    await caller.register(hive)
    entered, let_go = asyncio.Event(), asyncio.Event()
    add = SqliteStore.add_task

    async def slowly(self: SqliteStore, record: Any) -> bool:
        entered.set()
        await let_go.wait()
        return await add(self, record)

    monkeypatch.setattr(SqliteStore, "add_task", slowly)
    posting = asyncio.ensure_future(post(caller, max_tokens=4000, reconnect_grace_ms=50))
    await entered.wait()
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    await asyncio.sleep(0.1)  # the queen sees the connection end
    let_go.set()
    await caller.until(lambda: caller.queen.tasks.find("one") is not None)
    assert (await caller.until_state("one", "cancelled"))["error"]["code"] == "CANCELLED"
