"""The fleet: links, node states, wishes kept true, load on demand, the feed and the tap."""

from __future__ import annotations

import asyncio
import json

import pytest

from rbee_agent.queen.links import KIND
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, answer
from rbee_agent.wire.sse import SseDecoder


async def feed(caller, seconds=None, until=None, after=None):
    """Events of /v2/events until one fulfils `until`."""
    decoder, seen = SseDecoder(), []
    headers = {"Last-Event-ID": after} if after else {}
    async with asyncio.timeout(seconds or 10):
        async with caller.http.stream("GET", "/v2/events", headers=headers) as reply:
            async for chunk in reply.aiter_bytes():
                for event in decoder.feed(chunk):
                    seen.append(event)
                    if until is not None and until(event):
                        return seen
    return seen


async def test_a_silent_host_becomes_suspect_then_offline_and_comes_back(caller, hive):
    """Within 5 s of the last sign a mute host is offline; the next sign brings it back."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    node = caller.queen.registry.nodes["node-1"]
    seen = []
    began = asyncio.get_running_loop().time()
    hive.mute = True

    def offline() -> bool:
        if not seen or seen[-1] != node.state:
            seen.append(node.state)
        return node.state == "offline"

    await caller.until(offline, timeout=6.5)
    assert asyncio.get_running_loop().time() - began < 6.0
    assert [str(state) for state in seen] == ["online", "suspect", "offline"]
    hive.mute = False
    await caller.until(lambda: node.state == "online", timeout=8)


async def test_streams_leave_a_host_that_is_gone(caller, text):
    """The hive says that its worker is gone: the stream moves at once, without a timeout."""
    async with FakeHive("node-1") as one, FakeHive("node-2") as two:
        first = FakeWorker("w1")
        first.gate = asyncio.Event()
        await one.add(first)
        await caller.register(one)
        job = await caller.submit()
        await caller.until(lambda: first.seen.executions == 1)
        await two.add(FakeWorker("w2"))
        await caller.register(two)
        one.say("worker_gone", json.dumps({"id": "w1"}))
        assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)


async def test_a_draining_host_gets_nothing_new(caller, hive):
    """Drain: running work ends, new work waits or goes elsewhere; taken back, it works again."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    assert (await caller.http.post("/v2/nodes/node-1/drain", json={})).status_code == 200
    job = await caller.submit()
    info = (await caller.http.get(f"/v2/tasks/{job['job_id']}")).json()
    assert info["state"] == "queued"
    assert "draining" in info["waiting_for"]
    await caller.http.post("/v2/nodes/node-1/drain", json={"drain": False})
    assert (await caller.events(job["job_id"]))[-1].event == "end"


async def test_a_strict_stream_waits_for_its_profile(caller, hive, text):
    """After its worker died it goes on within the same exact profile only."""
    first = FakeWorker("w1", profile="a")
    first.gate = asyncio.Event()
    await hive.add(first)
    await caller.register(hive)
    job = await caller.submit(temperature=0, seed=1, max_tokens=12)
    first.gate.set()
    first.token_s = 0.05
    await caller.until(lambda: first.seen.generated >= 3)
    await hive.add(FakeWorker("w2", profile="b"))
    await hive.kill("w1")
    await asyncio.sleep(0.3)
    info = (await caller.http.get(f"/v2/tasks/{job['job_id']}")).json()
    assert info["state"] == "running"
    assert "profile" in info.get("waiting_for", "profile")
    third = await hive.add(FakeWorker("w3", profile="a"))
    assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
    assert third.seen.replayed >= 3


async def test_nodes_are_known_again_after_a_restart(places, hive, call):
    """A registered hive is linked to by the next queen without being told, 0600 on the disk."""
    async with InProcessQueen(places) as queen:
        caller = call(queen)
        await caller.register(hive)
        await caller.http.aclose()
    assert places.database.stat().st_mode & 0o077 == 0
    async with InProcessQueen(places) as queen:
        caller = call(queen)
        assert list(await queen.queen.store.documents(KIND)) == ["node-1"]
        await caller.until(lambda: queen.queen.registry.nodes["node-1"].state == "online")
        await caller.http.aclose()


async def test_the_feed_begins_with_a_snapshot_and_goes_on(caller, hive):
    """Every change of workers and tasks follows, with ids that grow."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    reading = asyncio.create_task(
        feed(
            caller,
            until=lambda e: e.event == "change" and '"state":"done"' in e.data,
        )
    )
    await caller.until(lambda: bool(caller.queen.feed._queues))
    await caller.submit()
    seen = await reading
    assert seen[0].event == "snapshot"
    first = json.loads(seen[0].data)
    assert [w["id"] for w in first["workers"]] == ["w1"]
    numbers = [int(e.id.rpartition("-")[2]) for e in seen if e.id]
    assert numbers == sorted(set(numbers))
    nouns = {json.loads(e.data)["noun"] for e in seen if e.event == "change"}
    assert "task" in nouns


async def test_the_feed_goes_on_behind_an_id(caller, hive):
    """A reader who comes back gets what it missed and no snapshot; an old id gets a snapshot."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    seen = await feed(caller, until=lambda e: e.event == "snapshot")
    job = await caller.submit()
    await caller.events(job["job_id"])
    rest = await feed(caller, after=seen[0].id, until=lambda e: '"state":"done"' in e.data)
    assert rest[0].event == "change"
    assert int(rest[0].id.rpartition("-")[2]) == int(seen[0].id.rpartition("-")[2]) + 1
    foreign = await feed(caller, after="other-5", until=lambda e: True)
    assert foreign[0].event == "snapshot"


async def test_the_tap_shows_running_text(caller, hive):
    """A watcher sees what streams say, coalesced, and does not count as their reader."""
    worker = FakeWorker("w1", token_s=0.02)
    await hive.add(worker)
    await caller.register(hive)
    job = await caller.submit(max_tokens=40, detach=True)
    said, chunks = "", 0
    decoder = SseDecoder()
    async with asyncio.timeout(10), caller.http.stream("GET", "/v2/streams/tap") as reply:
        async for raw in reply.aiter_bytes():
            for event in decoder.feed(raw):
                chunks += 1
                for stream in json.loads(event.data)["streams"]:
                    said += stream.get("text") or ""
                    if stream["state"] == "done":
                        break
            if said == answer("hello bees", 40):
                break
    assert chunks < 30
    assert caller.queen.tasks.find(job["job_id"]) is None or not (
        caller.queen.tasks.find(job["job_id"]).was_read
    )


async def test_a_reader_who_leaves_ends_the_task_after_its_grace(caller, hive):
    """Nobody reads any more: cancelled after the grace, unless it is detached."""
    worker = FakeWorker("w1")
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    left = await caller.submit(reconnect_grace_ms=100)
    kept = await caller.submit(reconnect_grace_ms=100, detach=True)
    for job in (left, kept):
        async with caller.http.stream("GET", f"/v2/tasks/{job['job_id']}/events") as reply:
            async for _ in reply.aiter_bytes():
                break
    info = await caller.until_state(left["job_id"], "cancelled")
    assert "reader" in info["error"]["message"]
    assert (await caller.http.get(f"/v2/tasks/{kept['job_id']}")).json()["state"] == "running"


@pytest.mark.parametrize("path", ["/v2/workers/w1/logs", "/v2/workers/w1/logs?lines=1"])
async def test_logs_come_from_the_hive(caller, hive, path):
    """The queen passes a worker's last lines on."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    lines = (await caller.http.get(path)).json()["lines"]
    assert lines[-1] == "w1"
    assert len(lines) == (1 if "lines=1" in path else 3)


async def test_a_reference_is_known_by_its_id(caller, text):
    """A file: reference is fetched once, and its worker found under the id the hive gives it."""
    async with FakeHive(models=()) as hive:
        await caller.register(hive)
        for _ in range(2):
            job = await caller.submit(model="file:/models/own.gguf")
            assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
        assert len(hive.spawns) == 1
        assert len(hive.pulls) == 1
