"""The policy script: it decides, it is tried first, and a hostile one costs nothing."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker
from rbee_agent.wire.sse import SseDecoder

PLACE = """
def place(task, workers, fleet):
    return first(order_by(workers, "id", reverse = True))
"""


async def put(caller, source):
    return await caller.http.put("/v2/policy", json={"source": source, "name": "mine.star"})


async def two_workers(caller, hive):
    await hive.add(FakeWorker("w1"))
    await hive.add(FakeWorker("w2"))
    await caller.register(hive)


async def test_a_script_places(caller, hive):
    """Its choice is taken and explained; dropped, the built-in one decides again."""
    await two_workers(caller, hive)
    assert (await put(caller, PLACE)).status_code == 200
    job = await caller.submit()
    await caller.events(job["job_id"])
    info = await caller.until_state(job["job_id"], "done")
    assert info["worker_id"] == "w2"
    explained = (await caller.http.get(f"/v2/tasks/{job['job_id']}/explain")).json()
    assert explained["decision"]["policy"] == "it chose w2"
    assert (await caller.http.delete("/v2/policy")).status_code == 204
    job = await caller.submit()
    await caller.events(job["job_id"])
    assert (await caller.until_state(job["job_id"], "done"))["worker_id"] == "w1"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def place(task, workers, fleet)\n  pass", "mine.star:1"),
        ("x = 1", "defines none"),
        ("def place(task, workers, fleet):\n    return nope(workers)", "nope"),
        ("def place(task, workers, fleet):\n    fail('no luck')", "mine.star:2"),
        ("load('os', 'system')\ndef place(t, w, f): return None", "os"),
        ("def place(t, w, f):\n    return open('/etc/passwd')", "open"),
        ("def place(t, w, f):\n    for i in range(200000000): pass\n    return None", "CPU"),
        ("def place(t, w, f):\n    return [0] * 1000000000", ""),
    ],
    ids=["syntax", "no-hook", "name", "fail", "import", "file", "cpu", "memory"],
)
async def test_a_bad_script_is_refused_whole(caller, hive, source, word):
    """PUT tries it first: what does not work never comes into force, and says where."""
    await two_workers(caller, hive)
    await put(caller, PLACE)
    reply = await put(caller, source)
    assert reply.status_code == 400
    assert word in reply.json()["error"]["message"]
    in_force = (await caller.http.get("/v2/policy")).json()["policy"]["source"]
    assert in_force == PLACE


async def test_a_script_that_turns_hostile_costs_nothing(caller, hive):
    """It passed its trial and then spins: the built-in policy decides, counted and narrated."""
    await two_workers(caller, hive)
    source = """
def place(task, workers, fleet):
    if task["id"] != "example-task":
        for i in range(500000000):
            pass
    return None
"""
    assert (await put(caller, source)).status_code == 200
    began = time.monotonic()
    job = await caller.submit()
    lag = 0.0
    while (await caller.http.get(f"/v2/tasks/{job['job_id']}")).json()["state"] != "done":
        before = time.monotonic()
        await asyncio.sleep(0.005)
        lag = max(lag, time.monotonic() - before - 0.005)
        assert time.monotonic() - began < 10
    assert lag < 0.5
    assert "rbee_policy_errors_total 1.0" in (await caller.http.get("/metrics")).text
    assert any("policy's place failed" in n.text for n in caller.queen.feed.narration)


async def test_a_script_that_fails_again_and_again_is_left_alone(caller, hive):
    """After five failures in a row it is not asked any more, and that is said."""
    await two_workers(caller, hive)
    source = """
def place(task, workers, fleet):
    return "w1" if task["id"] == "example-task" else fail("always")
"""
    source = source.replace('"w1"', "None")
    await put(caller, source)
    for _ in range(7):
        job = await caller.submit()
        await caller.events(job["job_id"])
    assert "rbee_policy_errors_total 5.0" in (await caller.http.get("/metrics")).text
    assert any("not asked again" in n.text for n in caller.queen.feed.narration)


async def test_naming_a_worker_that_may_not_is_a_failure(caller, hive):
    """A script cannot break a filter."""
    await two_workers(caller, hive)
    await put(caller, "def place(task, workers, fleet):\n    return 'somebody'")
    job = await caller.submit()
    await caller.events(job["job_id"])
    assert (await caller.until_state(job["job_id"], "done"))["worker_id"] == "w1"
    assert "rbee_policy_errors_total 1.0" in (await caller.http.get("/metrics")).text


async def test_admit_refuses_with_its_reason(caller, hive):
    """A string is the reason of a 429; True lets the task in."""
    await two_workers(caller, hive)
    source = """
def admit(task, fleet):
    if task["max_tokens"] and task["max_tokens"] > 100:
        return "at most 100 tokens here"
    return True
"""
    await put(caller, source)
    await caller.submit(max_tokens=100)
    reply = await caller.http.post(
        "/v2/tasks", json={"model": "demo", "prompt": "x", "max_tokens": 101}
    )
    assert reply.status_code == 429
    assert reply.json()["error"]["message"] == "at most 100 tokens here"


@pytest.mark.parametrize(("closed", "status"), [(False, 202), (True, 429)])
async def test_a_failing_admit_opens_or_closes_as_set(places, hive, call, closed, status):
    """policy_fail_closed says what a broken admit means."""
    settings = QueenSettings(policy_fail_closed=closed)
    async with InProcessQueen(places, settings=settings) as queen:
        caller = call(queen)
        await two_workers(caller, hive)
        source = (
            "def admit(task, fleet):\n"
            "    return True if task['id'] == 'example-task' else fail('x')"
        )
        await put(caller, source)
        reply = await caller.http.post("/v2/tasks", json={"model": "demo", "prompt": "x"})
        assert reply.status_code == status
        await caller.http.aclose()


async def test_the_script_survives_a_restart(places, hive, call):
    """The next queen has it in force."""
    async with InProcessQueen(places) as queen:
        caller = call(queen)
        await put(caller, PLACE)
        await caller.http.aclose()
    async with InProcessQueen(places) as queen:
        assert queen.queen.policy.script is not None
        assert queen.queen.policy.has("place")


async def test_check_changes_nothing(caller, hive):
    """A dry run tells what the script would answer on the fleet as it is."""
    await two_workers(caller, hive)
    reply = await caller.http.post("/v2/policy/check", json={"source": PLACE})
    assert reply.json() == {"hooks": ["place"], "answers": {"place": "w2"}, "decisions": []}
    assert (await caller.http.get("/v2/policy")).json()["policy"] is None


async def test_a_script_sees_the_labels_of_hosts(caller, hive):
    """`by_label` picks the workers of a host by what its hive was labelled with."""
    async with FakeHive("node-2") as other:
        await hive.add(FakeWorker("w1"))
        await other.add(FakeWorker("w2"))
        for one, room in ((hive, "attic"), (other, "cellar")):
            labels = {**one.registration().dump(), "labels": {"room": room}}
            await caller.http.post("/v2/nodes/register", json=labels)
        await caller.until(lambda: len(caller.queen.registry.workers) == 2)
        source = (
            "def place(task, workers, fleet):\n    return best(by_label(workers, 'room', 'cellar'))"
        )
        assert (await put(caller, source)).status_code == 200
        job = await caller.submit()
        await caller.events(job["job_id"])
        assert (await caller.until_state(job["job_id"], "done"))["worker_id"] == "w2"


async def recorded(caller) -> dict:
    """The snapshot that the feed begins with, as anybody may record it."""
    async with caller.http.stream("GET", "/v2/events") as reply:
        decoder = SseDecoder()
        async for chunk in reply.aiter_bytes():
            for event in decoder.feed(chunk):
                assert event.event == "snapshot"
                return json.loads(event.data)
    raise AssertionError("the feed ended")


async def test_a_script_is_tried_on_a_recorded_fleet(caller, hive):
    """Each open task of the snapshot is decided anew; the fleet of now plays no part in it."""
    gate = asyncio.Event()
    for name in ("w1", "w2"):
        worker = FakeWorker(name)
        worker.gate = gate
        await hive.add(worker)
    await caller.register(hive)
    jobs = [await caller.submit(priority=kind) for kind in ("interactive", "batch")]
    for job in jobs:
        await caller.until_state(job["job_id"], "running")
    snapshot = await recorded(caller)
    gate.set()
    for job in jobs:
        await caller.events(job["job_id"])
    for name in ("w1", "w2"):
        await hive.kill(name)
    source = (
        PLACE
        + """
def admit(task, fleet):
    if task["priority"] == "batch":
        return "no batch today, with %d running" % fleet["running"]
"""
    )
    body = {"source": source, "snapshot": snapshot}
    reply = await caller.http.post("/v2/policy/check", json=body)
    assert reply.status_code == 200, reply.text
    decided = {one["job_id"]: one for one in reply.json()["decisions"]}
    first, second = (decided[job["job_id"]] for job in jobs)
    assert (first["before"], first["built_in"], first["worker_id"]) == ("w1", "w1", "w2")
    assert "refused" not in first
    assert second["refused"] == "no batch today, with 2 running"


async def test_a_hook_that_fails_on_a_recorded_task_is_told_with_it(caller, hive):
    """A trial says which task it was; the built-in policy's choice stands beside it."""
    gate = asyncio.Event()
    worker = FakeWorker("w1")
    worker.gate = gate
    await hive.add(worker)
    await caller.register(hive)
    job = await caller.submit(max_tokens=7)
    await caller.until_state(job["job_id"], "running")
    source = "def place(task, workers, fleet):\n    return 1 // (task['max_tokens'] - 7)\n"
    body = {"source": source, "snapshot": await recorded(caller)}
    (one,) = (await caller.http.post("/v2/policy/check", json=body)).json()["decisions"]
    gate.set()
    assert one["worker_id"] == "w1"
    assert "zero" in one["problem"]


async def test_what_is_no_snapshot_is_refused(caller):
    """400 with the field, no 500."""
    body = {"source": PLACE, "snapshot": {"seq": "many"}}
    reply = await caller.http.post("/v2/policy/check", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "INVALID_PARAMS"
