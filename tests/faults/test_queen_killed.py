"""A queen that is killed loses no accepted task and no token."""

from __future__ import annotations

import asyncio
import json
import signal

import httpx
import pytest

from rbee_agent.client.frames import token_texts
from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.testing.worker import FakeWorker, answer


def request(prompt: str, tokens: int, task_id: str) -> TaskRequest:
    return TaskRequest(model="demo", prompt=prompt, max_tokens=tokens, task_id=task_id, detach=True)


async def test_killed_between_post_and_first_token(queen_process, hive):
    """SIGKILL right behind the 202: the task runs on the next queen, and its reader gets it all."""
    async with QueenClient(queen_process.url) as client:
        await client.register_node(hive.registration())
        hive.refuse_spawn = {"code": "POOL_UNAVAILABLE", "message": "not yet", "retriable": True}
        accepted = await client.submit(request("a kill", 20, "task-a"))
        await queen_process.end(signal.SIGKILL)
        await hive.add(FakeWorker("w1"))
        await queen_process.start()
        events = [event async for event in client.task_events(accepted.job_id)]
    text = "".join(t for e in events if e.event == "token" for t, _ in token_texts(e))
    assert text == answer("a kill", 20)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_killed_in_mid_stream(queen_process, hive, number):
    """The next queen goes on behind what the reader has; the worker replays and makes the rest."""
    worker = FakeWorker("w1", token_s=0.01)
    await hive.add(worker)
    async with QueenClient(queen_process.url) as client:
        await client.register_node(hive.registration())
        await client.submit(request("mid stream", 120, "task-b"))
        events = []
        restarted = False
        async for event in client.task_events("task-b"):
            events.append(event)
            if event.id == "40" and not restarted:
                restarted = True
                await queen_process.end(number)
                await queen_process.start()
        ids = [event.id for event in events if event.event == "token"]
        text = "".join(t for e in events if e.event == "token" for t, _ in token_texts(e))
        info = await client.task("task-b")
    assert text == answer("mid stream", 120)
    assert len(ids) == len(set(ids))
    assert json.loads(events[-1].data)["resumed"] == 1
    assert info.state == "done"
    assert worker.seen.executions == 2
    assert worker.seen.replayed >= 41


async def test_killed_twice_in_mid_stream(queen_process, hive):
    """The journal alone tells the third queen who made it, since when, and how often it moved."""
    await hive.add(FakeWorker("w1", token_s=0.01))
    kills = {"30", "60"}
    async with QueenClient(queen_process.url) as client:
        await client.register_node(hive.registration())
        await client.submit(request("twice", 100, "task-t"))
        events = []
        async for event in client.task_events("task-t"):
            events.append(event)
            if event.id in kills:
                kills.remove(event.id)
                await queen_process.end(signal.SIGKILL)
                await queen_process.start()
        info = await client.task("task-t")
        again = [event async for event in client.task_events("task-t")]
    text = "".join(t for e in events if e.event == "token" for t, _ in token_texts(e))
    assert text == answer("twice", 100)
    assert json.loads(events[-1].data)["resumed"] == 2
    assert info.started_at is not None
    assert info.worker_id == "w1"
    assert json.loads(again[0].data)["worker_id"] == "w1"


async def test_ended_tasks_answer_from_the_store(queen_process, hive):
    """After a restart a finished task still has its state and every frame."""
    await hive.add(FakeWorker("w1"))
    async with QueenClient(queen_process.url) as client:
        await client.register_node(hive.registration())
        first = [e async for e in client.stream(request("kept", 10, "task-c"))]
        await queen_process.end(signal.SIGTERM)
        await queen_process.start()
        again = [e async for e in client.task_events("task-c")]
        rest = [e async for e in client.task_events("task-c", last_event_id="7")]
        same = await client.submit(request("kept", 10, "task-c"))
    strip = ("started", "token", "end")
    assert [(e.event, e.data) for e in again if e.event in strip] == [
        (e.event, e.data) for e in first if e.event in strip
    ]
    assert [e.id for e in rest] == ["8", "9", "end"]
    assert same.state == "done"


async def test_nothing_accepted_is_lost_under_load(queen_process, hive):
    """SIGKILL in the middle of many POSTs: every task that got its 202 ends, exactly once."""
    accepted: set[str] = set()

    async def hand_in(http: httpx.AsyncClient, prefix: str) -> None:
        for number in range(1000):
            task_id = f"{prefix}-{number}"
            body = request(task_id, 3, task_id).model_dump(exclude_defaults=True)
            try:
                reply = await http.post("/v2/tasks", json=body)
            except httpx.TransportError:
                return
            if reply.status_code == 202:
                accepted.add(task_id)

    async with httpx.AsyncClient(base_url=queen_process.url, timeout=10) as http:
        hive.refuse_spawn = {"code": "POOL_UNAVAILABLE", "message": "not yet", "retriable": True}
        await http.post("/v2/nodes/register", json=hive.registration().dump())
        async with asyncio.TaskGroup() as group:
            for place in range(8):
                group.create_task(hand_in(http, f"load{place}"))
            async with asyncio.timeout(60):
                while len(accepted) < 150:  # noqa: ASYNC110 - answers come over eight connections
                    await asyncio.sleep(0.01)
            await queen_process.end(signal.SIGKILL)
    await hive.add(FakeWorker("w1", slots=64))
    await queen_process.start()
    async with httpx.AsyncClient(base_url=queen_process.url, timeout=10) as http:
        async with asyncio.timeout(60):
            while (await http.get("/health")).json()["queue_depth"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        for task_id in accepted:
            info = (await http.get(f"/v2/tasks/{task_id}")).json()
            assert info["state"] == "done", info
            assert info["timings"]["tokens_out"] == 3
