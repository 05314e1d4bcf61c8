"""Real workers, the real demo model: killed, stopped and frozen in mid-stream."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack

import pytest

from rbee_agent.client.frames import token_texts
from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.testing.queen import InProcessQueen

pytestmark = pytest.mark.model

PROMPT = "The bees in the garden were busy, because"


def strict(tokens: int = 60) -> TaskRequest:
    return TaskRequest(
        model="demo",
        prompt=PROMPT,
        max_tokens=tokens,
        temperature=0,
        seed=7,
        ignore_eos=True,
        determinism="strict",
    )


async def read(client: QueenClient, request: TaskRequest, at: int = -1, act=None):
    """All events of a task; `act` is run once when token `at` came."""
    events = []
    async for event in client.stream(request):
        events.append(event)
        if act is not None and event.id is not None and event.id.isdigit() and int(event.id) >= at:
            act()
            act = None
    return events


def whole(events) -> str:
    return "".join(t for e in events if e.event == "token" for t, _ in token_texts(e))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_in_mid_stream(places, hive, real_worker, number):
    """A strict stream goes on byte-exact elsewhere: resumed by its ids, not generated anew."""
    async with AsyncExitStack() as stack:
        queen = await stack.enter_async_context(InProcessQueen(places))
        client = await stack.enter_async_context(QueenClient(queen.url))
        first = await hive.add(real_worker("w1"))
        await client.register_node(hive.registration())
        expected = await read(client, strict())
        second = await hive.add(real_worker("w2"))
        made_before = (await second.health()).tokens_out_total
        # Both are idle and equally fast to the queen: the first by its id is taken.
        events = await read(client, strict(), at=20, act=lambda: first.signal(number))
        if number == signal.SIGSTOP:
            first.signal(signal.SIGCONT)
        assert json.loads(events[-1].data).get("resumed") == 1, events[-1]
        assert whole(events) == whole(expected)
        indices = [int(e.id) for e in events if e.event == "token"]
        assert indices == sorted(set(indices))
        made = (await second.health()).tokens_out_total - made_before
        assert made < 45, "it was generated from the start, not resumed"


async def test_a_dead_worker_is_noticed_within_a_second(places, hive, real_worker):
    """From SIGSTOP to the narration of the failure, where another worker can take the stream."""
    async with AsyncExitStack() as stack:
        queen = await stack.enter_async_context(InProcessQueen(places))
        client = await stack.enter_async_context(QueenClient(queen.url))
        worker = await hive.add(real_worker("w1"))
        await hive.add(real_worker("w2"))
        await client.register_node(hive.registration())
        stopped = 0.0
        async for event in client.stream(strict(400), verbose=True):
            if event.id is not None and event.id == "10":
                worker.signal(signal.SIGSTOP)
                stopped = time.monotonic()
            if event.event == "narration" and "failed" in event.data and stopped:
                break
        took = time.monotonic() - stopped
        worker.signal(signal.SIGCONT)
        assert took < 1.5


async def test_killed_queen_resumes_a_strict_stream(queen_process, hive, real_worker):
    """SIGKILL of the queen in mid-stream: the client's text is that of an undisturbed run."""
    await hive.add(real_worker("w1"))
    async with QueenClient(queen_process.url) as client:
        await client.register_node(hive.registration())
        expected = await read(client, strict())
        events = []
        killed = False
        async for event in client.stream(strict()):
            events.append(event)
            if event.id == "25" and not killed:
                killed = True
                await queen_process.end(signal.SIGKILL)
                await queen_process.start()
                await asyncio.sleep(0)
    assert whole(events) == whole(expected)
    assert json.loads(events[-1].data)["resumed"] == 1
