"""Seeded chaos: whatever breaks, tasks accepted = tasks ended, and no token lost or doubled.

``RBEE_FAULT_RUNS`` sets how many seeds are run; `make faults` runs `LONG`, the suite a few.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import AsyncExitStack

import httpx
import pytest

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, Faults, answer
from rbee_agent.wire.sse import SseDecoder

LONG = 440
"""With those of `test_seeded_real` 500."""
RUNS = int(os.environ.get("RBEE_FAULT_RUNS", LONG if "RBEE_LONG" in os.environ else 12))
TASKS = 12


def faults_of(random_: random.Random) -> Faults:
    """Something that goes wrong, or nothing."""
    place = random_.randrange(12)
    return random_.choice(
        [
            Faults(times=0),
            Faults(break_after=place),
            Faults(skip_after=place),
            Faults(double_after=place),
            Faults(error_after=place, error_code="WORKER_RESET"),
            Faults(refuse_code="POOL_UNREADY"),
        ]
    )


async def reader(
    http: httpx.AsyncClient, job: str, random_: random.Random
) -> tuple[str, list, str]:
    """Read a task to its end, leaving and coming back with Last-Event-ID now and then."""
    said, ids, after = "", [], None
    while True:
        decoder = SseDecoder()
        leave = random_.randrange(3, 30) if random_.random() < 0.5 else 10**9
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v2/tasks/{job}/events"
        async with http.stream("GET", path, headers=headers) as reply:
            assert reply.status_code == 200
            async for chunk in reply.aiter_bytes():
                for event in decoder.feed(chunk):
                    if event.id is not None:
                        after = event.id
                    if event.event == "token":
                        data = json.loads(event.data)
                        for item in data.get("batch", [data]):
                            said += item["t"]
                            ids.append(item["i"])
                    elif event.event in ("end", "error"):
                        return said, ids, event.event
                leave -= 1
                if leave == 0:
                    break


async def chaos(hive: FakeHive, random_: random.Random, done: asyncio.Event) -> None:
    """Kill workers and bring new ones, as long as the tasks run."""
    number = 10
    while not done.is_set():
        await asyncio.sleep(random_.uniform(0.02, 0.2))
        living = list(hive.workers)
        if living and random_.random() < 0.5:
            await hive.kill(random_.choice(living), tell=random_.random() < 0.5)
        if len(hive.workers) < 3:
            number += 1
            await hive.add(
                FakeWorker(f"w{number}", token_s=0.002, slots=4, faults=faults_of(random_))
            )
        for name in hive.workers:
            if random_.random() < 0.1:
                hive.report(name, WorkerState.READY)


@pytest.mark.parametrize("seed", range(RUNS))
async def test_nothing_is_lost_or_doubled(places, seed):
    """Every accepted task ends once; a stream that ends well holds exactly its answer."""
    random_ = random.Random(seed)
    async with AsyncExitStack() as stack:
        hive = await stack.enter_async_context(FakeHive())
        queen = await stack.enter_async_context(InProcessQueen(places))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=queen.url, timeout=60.0))
        for name in ("w1", "w2"):
            await hive.add(FakeWorker(name, token_s=0.002, faults=faults_of(random_)))
        await http.post("/v2/nodes/register", json=hive.registration().dump())
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            trouble = group.create_task(chaos(hive, random_, done))
            readers, cancelled = {}, set()
            for number in range(TASKS):
                tokens = random_.randrange(1, 60)
                body = {
                    "model": "demo",
                    "prompt": f"{seed} {number}",
                    "max_tokens": tokens,
                    "priority": random_.choice(["interactive", "batch"]),
                    "session_id": random_.choice([None, "a", "b"]),
                    "reconnect_grace_ms": 20_000,
                }
                body = {key: value for key, value in body.items() if value is not None}
                reply = await http.post("/v2/tasks", json=body)
                assert reply.status_code == 202, reply.text
                job = reply.json()["job_id"]
                readers[job] = (
                    number,
                    tokens,
                    group.create_task(reader(http, job, random.Random(seed * 1000 + number))),
                )
                if random_.random() < 0.15:
                    cancelled.add(job)
                    await http.post(f"/v2/tasks/{job}/cancel")
            async with asyncio.timeout(60):
                results = {job: await task for job, (_, _, task) in readers.items()}
            done.set()
            await trouble
        for job, (said, ids, last) in results.items():
            number, tokens, _ = readers[job]
            expected = answer(f"{seed} {number}", tokens)
            assert expected.startswith(said)
            assert ids == list(range(len(ids)))
            if last == "end":
                assert said == expected
            info = (await http.get(f"/v2/tasks/{job}")).json()
            assert info["state"] in ("done", "failed", "cancelled")
            if job not in cancelled and last == "error":
                assert info["error"]["code"] == "WORKER_RESET", info
        assert not queen.queen.tasks.queue.open
        for worker in queen.queen.registry.workers.values():
            assert not worker.in_flight
