"""Admission: one id is one task, a full queue says when, deadlines and budgets are kept."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from rbee_agent.errors import Unavailable
from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker


def code(reply) -> str:
    return reply.json()["error"]["code"]


async def test_the_same_task_id_is_the_same_task(caller, hive):
    """Same body: 200 and the same task, also after its end; another body: 409."""
    worker = await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    body = {"model": "demo", "prompt": "x", "max_tokens": 3, "task_id": "mine"}
    first = await caller.http.post("/v2/tasks", json=body)
    assert first.status_code == 202
    await caller.events("mine")
    again = await caller.http.post("/v2/tasks", json=body)
    assert again.status_code == 200
    assert again.json()["job_id"] == "mine"
    other = await caller.http.post("/v2/tasks", json={**body, "prompt": "y"})
    assert (other.status_code, code(other)) == (409, "CONFLICT")
    assert worker.seen.executions == 1


async def test_racing_posts_of_one_id_make_one_task(caller, hive):
    """Twenty at once: one is new, all name the same task, it runs once."""
    worker = await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    body = {"model": "demo", "prompt": "x", "max_tokens": 3, "task_id": "race"}
    replies = await asyncio.gather(*(caller.http.post("/v2/tasks", json=body) for _ in range(20)))
    statuses = sorted(reply.status_code for reply in replies)
    assert set(statuses) <= {200, 202, 503}
    assert statuses.count(202) == 1
    await caller.events("race")
    assert worker.seen.executions == 1


async def test_a_full_queue_says_when_to_come_back(places, hive, call):
    """429 with Retry-After in whole seconds and X-Backoff-Ms; nothing is accepted."""
    async with InProcessQueen(places, settings=QueenSettings(queue_limit=2)) as queen:
        caller = call(queen)
        worker = FakeWorker("w1", slots=1)
        worker.gate = asyncio.Event()
        await hive.add(worker)
        await caller.register(hive)
        for _ in range(3):
            await caller.submit()
        reply = await caller.http.post("/v2/tasks", json={"model": "demo", "prompt": "x"})
        assert (reply.status_code, code(reply)) == (429, "ADMISSION_REJECT")
        assert int(reply.headers["Retry-After"]) >= 1
        assert int(reply.headers["X-Backoff-Ms"]) >= 1000
        worker.gate.set()
        await caller.http.aclose()


async def test_drop_lru_ends_the_oldest_and_takes_the_newcomer(places, hive, call):
    """The newcomer gets its 202, the dropped one its error frame."""
    settings = QueenSettings(queue_limit=1, queue_policy="drop-lru")
    async with InProcessQueen(places, settings=settings) as queen:
        caller = call(queen)
        worker = FakeWorker("w1", slots=1)
        worker.gate = asyncio.Event()
        await hive.add(worker)
        await caller.register(hive)
        await caller.submit()
        victim = await caller.submit()
        newcomer = await caller.submit()
        events = await caller.events(victim["job_id"])
        assert json.loads(events[-1].data)["code"] == "QUEUE_FULL_DROP_LRU"
        worker.gate.set()
        assert (await caller.events(newcomer["job_id"]))[-1].event == "end"
        await caller.http.aclose()


async def test_a_deadline_ends_the_task(caller, hive):
    """What is not done in time ends with DEADLINE_EXCEEDED, and its slot is free."""
    worker = FakeWorker("w1")
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    job = await caller.submit(deadline_ms=300)
    events = await caller.events(job["job_id"])
    assert json.loads(events[-1].data)["code"] == "DEADLINE_EXCEEDED"
    await caller.until(lambda: not caller.queen.registry.workers["w1"].in_flight)


async def test_sessions_count_and_enforce_their_budget(caller, hive):
    """Tokens are counted over turns; a spent budget is 429; DELETE forgets it."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    first = await caller.submit(session_id="s1", max_tokens=6, budget={"tokens": 10})
    await caller.events(first["job_id"])
    second = await caller.submit(session_id="s1", max_tokens=6)
    await caller.events(second["job_id"])
    shown = (await caller.http.get("/v2/sessions/s1")).json()
    assert shown["turns"] == 2
    assert shown["tokens_used"] == 10
    assert shown["tokens_budget_remaining"] == 0
    spent = await caller.http.post(
        "/v2/tasks", json={"model": "demo", "prompt": "x", "session_id": "s1"}
    )
    assert (spent.status_code, code(spent)) == (429, "QUOTA_EXCEEDED")
    assert (await caller.http.delete("/v2/sessions/s1")).status_code == 204
    assert (await caller.http.get("/v2/sessions/s1")).status_code == 404


async def test_a_caller_who_hangs_up_leaves_no_half_task(caller, hive, monkeypatch):
    """The connection ends while the task is on its way to the disk: it is accepted, and runs."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    store, gate = caller.queen.store, asyncio.Event()
    add_task = store.add_task

    async def slow(record):
        fresh = await add_task(record)
        await gate.wait()
        return fresh

    monkeypatch.setattr(store, "add_task", slow)
    body = {"model": "demo", "prompt": "x", "max_tokens": 3, "task_id": "left"}
    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post("/v2/tasks", json=body, timeout=0.3)
    monkeypatch.undo()
    early = await caller.http.get("/v2/tasks/left/events")
    assert early.status_code == 503
    gate.set()
    await caller.until_state("left", "done")
    again = await caller.http.post("/v2/tasks", json=body)
    assert again.status_code == 200
    assert (await caller.events("left"))[-1].event == "end"


async def test_a_task_tells_what_it_may_spend(caller, hive):
    """Its limit of tokens and its budget are in what everybody sees of it."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    accepted = await caller.submit(max_tokens=7, budget={"tokens": 5})
    info = (await caller.http.get(f"/v2/tasks/{accepted['job_id']}")).json()

    assert (info["max_tokens"], info["budget"]["tokens"]) == (7, 5)


async def test_a_store_that_cannot_be_written_is_counted_and_explained(caller, hive, monkeypatch):
    """503 with the reason, one in tasks_rejected; nothing was accepted, and explain says why."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)

    async def full(record):
        raise Unavailable("the disk is full", code="STORE_UNAVAILABLE", retry_after_ms=2000)

    monkeypatch.setattr(caller.queen.store, "add_task", full)
    reply = await caller.http.post("/v2/tasks", json={"model": "demo", "prompt": "x"})
    assert reply.status_code == 503
    said = reply.json()["error"]
    assert said["code"] == "STORE_UNAVAILABLE"
    metrics = (await caller.http.get("/metrics")).text
    assert 'rbee_tasks_rejected_total{reason="STORE_UNAVAILABLE"} 1.0' in metrics
    told = await caller.http.get(f"/v2/tasks/{said['details']['task_id']}/explain")
    assert "the disk is full" in told.json()["text"]
    assert not caller.queen.tasks.queue.open
