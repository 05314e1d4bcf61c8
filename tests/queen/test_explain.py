"""``explain``: a reader who knows nothing of the code understands why."""

from __future__ import annotations

import asyncio

from rbee_agent.contracts.explain import Explanation
from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, Faults


async def told(caller, job_id: str) -> str:
    reply = await caller.http.get(f"/v2/tasks/{job_id}/explain")
    assert reply.status_code == 200, reply.text
    Explanation.model_validate(reply.json())  # forbids a field that the contract does not know
    text: str = reply.json()["text"]
    print(f"\n{text}\n")
    return text


async def busy_worker(caller, hive) -> FakeWorker:
    worker = FakeWorker("w1", slots=1)
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    return worker


async def test_a_task_that_waits(caller, hive):
    """What it waits for, who is in front of it, when it will start, and what can be done."""
    worker = await busy_worker(caller, hive)
    await caller.submit()
    second = await caller.submit()
    third = await caller.submit(deadline_ms=3_600_000)

    text = await told(caller, second["job_id"])
    assert "Why it does not run yet: worker w1 is busy: its only slot is taken." in text
    assert "`rbee worker spawn` adds a worker" in text
    assert (
        "It should start in about 5.0 s (nothing is measured yet, the guess is 5.0 s each)" in text
    )
    assert "w1  node-1  no: worker w1 is busy: its only slot is taken" in text
    text = await told(caller, third["job_id"])
    assert "In front of it: 1 task." in text
    assert "Its deadline is in 60 min; the chance to end before that is 100%." in text
    worker.gate.set()


async def test_a_task_that_ran(caller, hive):
    """Where, why there, what it took, and what the others would have been."""
    await hive.add(FakeWorker("w1"))
    await hive.add(FakeWorker("w2"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"])

    text = await told(caller, job["job_id"])
    assert "ran demo on worker w1 and ended well: it made as many tokens as it was all" in text
    assert "Why that worker: it has the best score of 2 workers" in text
    assert "2 tokens read, 12 made" in text
    assert "w1  node-1  chosen: score 0.00" in text
    assert "w2  node-1  could have taken it" in text
    assert "The lowest score wins, then the lower id." in text


async def test_a_task_that_moved(caller, hive):
    """Each worker that it left is named with what was wrong, also from the store."""
    await hive.add(FakeWorker("w1", faults=Faults(break_after=3)))
    await hive.add(FakeWorker("w2"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"])
    await caller.until(lambda: caller.queen.tasks.find(job["job_id"]) is None)

    assert "It left worker w1: the worker's stream broke: the connection was cut." in await told(
        caller, job["job_id"]
    )


async def test_a_task_that_was_refused(places, hive, call):
    """Why, how full it was, and when to come back: under the id that the refusal names."""
    settings = QueenSettings(queue_limit=1)
    async with InProcessQueen(places, settings=settings) as queen:
        caller = call(queen)
        worker = await busy_worker(caller, hive)
        await caller.submit()
        await caller.submit()
        reply = await caller.http.post("/v2/tasks", json={"model": "demo", "prompt": "x"})
        assert reply.status_code == 429
        job_id = reply.json()["error"]["details"]["task_id"]

        text = await told(caller, job_id)
        assert "was refused and never waited: the queue is full (1)" in text
        assert "1 task waited and 1 task ran" in text
        assert "may succeed later, in 5.0 s" in text
        assert "w1  node-1  no: worker w1 is busy" in text
        worker.gate.set()
        await caller.http.aclose()


async def test_a_refusal_is_forgotten_when_the_task_is_taken(caller, hive):
    """The same id handed in again is explained by what became of it."""
    body = {"model": "demo", "prompt": "x", "task_id": "mine"}
    refused = await caller.http.post("/v2/tasks", json=body)
    assert refused.status_code == 404
    assert "was refused" in await told(caller, "mine")
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    await caller.submit(task_id="mine")
    await caller.events("mine")
    assert "ended well" in await told(caller, "mine")
