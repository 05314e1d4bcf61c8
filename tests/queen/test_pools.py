"""Pools: drained without loss, reloaded with a way back, purged."""

from __future__ import annotations

import asyncio

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.worker import FakeWorker, answer


async def pool_of(caller, hive, model="demo") -> str:
    await caller.register(hive)
    await caller.http.post("/v2/workers", json={"model": model})
    await caller.until(
        lambda: any(
            w.info.model == model and w.info.state == "ready"
            for w in caller.queen.registry.workers.values()
        )
    )
    await caller.until(lambda: any(w.worker_ids for w in caller.queen.deployments.wishes))
    return (await caller.http.get("/v2/pools")).json()["pools"][0]["id"]


async def test_drain_moves_what_runs_at_the_deadline(caller, text):
    """A stream that does not end in time goes on elsewhere, whole."""
    async with FakeHive("node-1") as one, FakeHive("node-2") as two:
        pool = await pool_of(caller, one)
        worker = next(iter(one.workers.values()))
        worker.gate = asyncio.Event()
        job = await caller.submit()
        await caller.until(lambda: worker.seen.executions == 1)
        await two.add(FakeWorker("w2"))
        await caller.register(two)
        reply = await caller.http.post(f"/v2/pools/{pool}/drain", json={"deadline_ms": 200})
        assert reply.status_code == 202
        assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
        health = (await caller.http.get(f"/v2/pools/{pool}/health")).json()
        assert health["draining"]
        assert not health["ready"]


async def test_reload_switches_when_the_new_one_is_ready(caller):
    """The old worker goes only after the new model serves."""
    async with FakeHive(models=("demo", "next")) as hive:
        pool = await pool_of(caller, hive)
        reply = await caller.http.post(f"/v2/pools/{pool}/reload", json={"model": "next"})
        assert reply.status_code == 202
        await caller.until(lambda: [w.model for w in hive.workers.values()] == ["next"])
        wishes = (await caller.http.get("/v2/deployments")).json()["deployments"]
        assert [wish["model"] for wish in wishes] == ["next"]
        again = await caller.http.post(f"/v2/pools/{pool}/drain", json={})
        assert again.status_code == 404


async def test_a_reload_that_fails_keeps_the_old_one(caller):
    """The new worker crashes while loading: the old one never stopped serving."""

    def make(name, request):
        worker = FakeWorker(name, model=request.model)
        original = worker.info
        if request.model == "broken":
            worker.info = lambda state=WorkerState.READY: original(
                WorkerState.CRASH_LOOPING
            ).model_copy(update={"error": "bad magic"})
        return worker

    async with FakeHive(models=("demo", "broken"), make_worker=make) as hive:
        pool = await pool_of(caller, hive)
        await caller.http.post(f"/v2/pools/{pool}/reload", json={"model": "broken"})
        await caller.until(
            lambda: any("keeps its old model" in n.text for n in caller.queen.feed.narration)
        )
        await caller.until(lambda: [w.model for w in hive.workers.values()] == ["demo"])
        job = await caller.submit()
        assert (await caller.events(job["job_id"]))[-1].event == "end"


async def test_two_operations_on_one_pool_are_a_conflict(caller, hive):
    """While a pool drains, nothing else is done to it."""
    pool = await pool_of(caller, hive)
    worker = next(iter(hive.workers.values()))
    worker.gate = asyncio.Event()
    await caller.submit()
    await caller.until(lambda: worker.seen.executions == 1)
    assert (await caller.http.post(f"/v2/pools/{pool}/drain", json={})).status_code == 202
    again = await caller.http.post(f"/v2/pools/{pool}/reload", json={})
    assert again.status_code == 409
    worker.gate.set()


async def test_purge_ends_workers_and_wish(caller, hive):
    """Nothing of the pool is left, and nothing comes back."""
    pool = await pool_of(caller, hive)
    assert (await caller.http.post(f"/v2/pools/{pool}/purge")).status_code == 202
    await caller.until(lambda: not hive.workers)
    await caller.until(lambda: not len(caller.queen.deployments.wishes))
    assert (await caller.http.get("/v2/pools")).json()["pools"] == []
