"""Wishes for workers: kept true, withdrawn, loaded on demand, given up with their reason."""

from __future__ import annotations

import asyncio
import json

import pytest

from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, answer


async def test_a_wish_is_kept_true(caller, hive):
    """POST /v2/workers has one spawned; one that vanishes is replaced; DELETE ends the wish."""
    await caller.register(hive)
    reply = await caller.http.post("/v2/workers", json={"model": "demo", "replicas": 2})
    assert reply.status_code == 202
    wish = reply.json()["id"]
    await caller.until(lambda: len(hive.workers) == 2)
    await caller.until(lambda: len(caller.queen.deployments.wishes.get(wish).worker_ids) == 2)
    gone = next(iter(hive.workers))
    await hive.kill(gone)
    await caller.until(lambda: len(hive.workers) == 2 and gone not in hive.workers)
    assert (await caller.http.delete(f"/v2/workers/{wish}")).status_code == 204
    await caller.until(lambda: hive.workers == {})
    assert (await caller.http.get("/v2/deployments")).json()["deployments"] == []


async def test_a_wish_that_is_withdrawn_while_it_is_looked_at_stays_withdrawn(
    caller, hive, monkeypatch
):
    """One of its workers vanished, that is being written: DELETE is what counts in the end."""
    await caller.register(hive)
    reply = await caller.http.post("/v2/workers", json={"model": "demo", "replicas": 3})
    wish = reply.json()["id"]
    wishes = caller.queen.deployments.wishes
    await caller.until(lambda: len(wishes.get(wish).worker_ids) == 3)
    hive.refuse_spawn = {"code": "INSUFFICIENT_VRAM", "message": "no room", "retriable": True}
    first, second, _ = hive.workers
    await hive.kill(first)
    await caller.until(lambda: wishes.get(wish).problem == "no room")
    put, writing, withdrawn = caller.queen.store.put, asyncio.Event(), asyncio.Event()

    async def slow(kind, key, value):
        writing.set()
        await withdrawn.wait()
        await put(kind, key, value)

    monkeypatch.setattr(caller.queen.store, "put", slow)
    await hive.kill(second)
    await writing.wait()
    assert (await caller.http.delete(f"/v2/workers/{wish}")).status_code == 204
    hive.refuse_spawn = None
    spawned = len(hive.spawns)
    withdrawn.set()
    await caller.until(lambda: hive.workers == {})
    await asyncio.sleep(0.2)
    assert len(wishes) == 0
    assert len(hive.spawns) == spawned


async def test_a_crashed_worker_is_left_to_its_hive(caller, hive):
    """A worker in backoff comes back by itself: the queen spawns no second one."""
    await caller.register(hive)
    await caller.http.post("/v2/workers", json={"model": "demo"})
    await caller.until(lambda: len(hive.workers) == 1)
    worker = next(iter(hive.workers))
    workers = caller.queen.registry.workers
    await caller.until(lambda: worker in workers)
    hive.report(worker, WorkerState.BACKOFF, error="it crashed")
    await caller.until(lambda: workers[worker].info.state == "backoff")
    await asyncio.sleep(0.3)
    assert len(hive.spawns) == 1
    hive.workers[worker].incarnation = 2
    hive.report(worker)
    job = await caller.submit()
    assert (await caller.events(job["job_id"]))[-1].event == "end"


async def test_stopping_a_worker_withdraws_its_wish(caller, hive):
    """What was stopped by hand is not started again."""
    await caller.register(hive)
    await caller.http.post("/v2/workers", json={"model": "demo"})
    await caller.until(lambda: len(caller.queen.registry.workers) == 1)
    worker = next(iter(hive.workers))
    await caller.until(lambda: any(w.worker_ids for w in caller.queen.deployments.wishes))
    assert (await caller.http.delete(f"/v2/workers/{worker}")).status_code == 204
    await asyncio.sleep(0.2)
    assert hive.workers == {}
    assert len(hive.spawns) == 1


async def test_a_task_has_its_model_loaded_and_unloaded(places, hive, call, text):
    """No worker: one is started where it fits; idle for long enough, it goes again."""
    settings = QueenSettings(idle_unload_s=0.8)
    async with InProcessQueen(places, settings=settings) as queen:
        caller = call(queen)
        await caller.register(hive)
        jobs = [await caller.submit(prompt=f"p{n}") for n in range(3)]
        for number, job in enumerate(jobs):
            assert text(await caller.events(job["job_id"])) == answer(f"p{number}", 12)
        assert len(hive.spawns) == 1
        await caller.until(lambda: not hive.workers, timeout=6)
        assert len(caller.queen.deployments.wishes) == 0
        await caller.http.aclose()


async def test_a_model_that_is_nowhere_is_fetched_first(caller, text):
    """The catalog entry is pulled onto the host before a worker is asked for."""
    async with FakeHive(models=()) as hive:
        await caller.register(hive)
        await caller.http.post("/v2/catalog/models", json={"id": "far"})
        job = await caller.submit(model="far")
        assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
        assert [pull["model"]["id"] for pull in hive.pulls] == ["far"]


async def test_what_cannot_be_had_ends_the_task_with_the_reason(caller, hive):
    """A hive that refuses for good: the waiting task gets the hive's own words."""
    hive.refuse_spawn = {
        "code": "BACKEND_UNAVAILABLE",
        "message": "no cuda here, there is cpu",
        "retriable": False,
    }
    await caller.register(hive)
    job = await caller.submit()
    last = json.loads((await caller.events(job["job_id"]))[-1].data)
    assert last["code"] == "BACKEND_UNAVAILABLE"
    assert "there is cpu" in last["message"]


async def test_a_worker_that_dies_while_loading_shows_its_last_lines(caller):
    """Crash-looping: the task ends with the log's tail in its message."""

    def make(name, request):
        return FakeWorker(name, model=request.model)

    async with FakeHive(make_worker=make) as hive:
        original = hive.add

        async def add_broken(worker):
            await worker.__aenter__()
            hive.workers[worker.id] = worker
            info = worker.info(WorkerState.CRASH_LOOPING).model_copy(
                update={"error": "exit 1", "last_log": ["loading", "bad magic"]}
            )
            hive.say("worker", info.dump_json())
            return worker

        hive.add = add_broken
        await caller.register(hive)
        job = await caller.submit()
        last = json.loads((await caller.events(job["job_id"]))[-1].data)
        assert "bad magic" in last["message"]
        assert last["code"] == "REPLICA_EXHAUSTED"
        hive.add = original


async def test_why_a_replica_is_missing_is_said_while_its_host_is_away(caller, hive):
    """Its worker is known still and counts for nothing: the reason stays, look after look."""
    await caller.register(hive)
    reply = await caller.http.post("/v2/workers", json={"model": "demo"})
    wish = reply.json()["id"]
    wishes, registry = caller.queen.deployments.wishes, caller.queen.registry
    await caller.until(lambda: len(wishes.get(wish).worker_ids) == 1)
    registry.set_node_state(registry.nodes["node-1"], NodeState.OFFLINE, "its cable was cut")
    await caller.until(lambda: wishes.get(wish).problem is not None)
    for _ in range(20):
        registry.tell_change()
        await asyncio.sleep(0.005)
        assert wishes.get(wish).problem is not None


@pytest.mark.parametrize(
    "policy", [None, "def evict(workers, need):\n    return [w['id'] for w in workers]"]
)
async def test_an_idle_model_makes_room_for_another(caller, policy):
    """Memory for one worker only: the idle on-demand one goes, the new one comes."""
    if policy is not None:
        reply = await caller.http.put("/v2/policy", json={"source": policy})
        assert reply.status_code == 200, reply.text
    need = 700 * 2**20

    def make(name, request):
        worker = FakeWorker(name, model=request.model)
        original = worker.info

        def info(state=WorkerState.READY):
            return original(state).model_copy(
                update={"memory_estimate": need, "memory_bytes": need}
            )

        worker.info = info
        return worker

    async with FakeHive(models=("one", "two"), make_worker=make, telemetry_s=0.1) as hive:
        original = hive._device

        def device():
            used = need * len(hive.workers)
            return original().model_copy(update={"memory_free": 2**30 - used})

        hive._device = device
        for name, file in hive.models.items():
            facts = file.facts.model_copy(update={"tensor_bytes": 600 * 2**20})
            hive.models[name] = file.model_copy(update={"facts": facts})
        await caller.register(hive)
        first = await caller.submit(model="one")
        assert (await caller.events(first["job_id"]))[-1].event == "end"
        await caller.until(
            lambda: caller.queen.registry.nodes["node-1"].devices[0].memory_free < 2**30 - need + 1
        )
        second = await caller.submit(model="two")
        assert (await caller.events(second["job_id"]))[-1].event == "end"
        assert [worker.model for worker in hive.workers.values()] == ["two"]
        assert len(hive.stops) == 1
        assert "rbee_policy_errors_total 0.0" in (await caller.http.get("/metrics")).text


async def test_a_model_moves_to_another_host_when_its_own_is_gone(caller, text):
    """The stream goes on elsewhere; when the host is back, the worker one too many goes."""
    gate = asyncio.Event()

    def make(name, request):
        worker = FakeWorker(name, model=request.model)
        worker.gate = gate
        return worker

    async with FakeHive("node-1", make_worker=make) as one, FakeHive("node-2") as two:
        await caller.register(one)
        await caller.http.post("/v2/workers", json={"model": "demo"})
        await caller.until(lambda: len(one.workers) == 1)
        await caller.register(two)
        job = await caller.submit()
        worker = next(iter(one.workers.values()))
        await caller.until(lambda: worker.seen.executions == 1)
        one.mute = True
        assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
        assert len(two.workers) == 1
        gate.set()
        one.mute = False
        await caller.until(
            lambda: caller.queen.registry.nodes["node-1"].state == "online", timeout=10
        )
        await caller.until(lambda: len(one.workers) + len(two.workers) == 1, timeout=10)


async def test_a_forgotten_host_brings_its_worker_back(caller, text):
    """Removed and registered again, its worker still stands behind its wish: no second is begun."""
    async with FakeHive("node-1") as hive:
        await caller.register(hive)
        await caller.http.post("/v2/workers", json={"model": "demo", "node_id": "node-1"})
        await caller.until(lambda: len(hive.workers) == 1)
        await caller.http.delete("/v2/nodes/node-1")
        (wish,) = caller.queen.deployments.wishes
        await caller.until(lambda: caller.queen.deployments.setbacks.error(wish.id))
        (wish,) = caller.queen.deployments.wishes
        assert wish.worker_ids == list(hive.workers)
        await caller.register(hive)
        job = await caller.submit()
        assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
        assert len(hive.spawns) == 1


async def test_a_restarted_queen_waits_for_her_hosts(places, hive, call):
    """A worker that no wish stands behind is found again before another is started for a task."""
    await hive.add(FakeWorker("by-hand"))
    async with InProcessQueen(places) as queen:
        caller = call(queen)
        await caller.register(hive)
        hive.mute = True
        await caller.http.aclose()
    async with InProcessQueen(places) as queen:
        caller = call(queen)
        await caller.http.post("/v2/catalog/models", json={"id": "demo"})
        job = await caller.submit(detach=True)
        hive.mute = False
        assert (await caller.events(job["job_id"]))[-1].event == "end"
        assert hive.spawns == []
        await caller.http.aclose()
