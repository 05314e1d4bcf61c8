"""Streams: what a caller reads, and that nothing of it is lost or doubled whatever breaks."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import aclosing

import pytest

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import Unavailable
from rbee_agent.queen import relay
from rbee_agent.security.keys import LOCAL_ADMIN
from rbee_agent.store.journal import Journal
from rbee_agent.testing.worker import FakeWorker, Faults, answer
from rbee_agent.wire.sse import SseDecoder

PROMPT = "hello bees"


async def test_a_task_streams_started_tokens_and_end(caller, hive, text):
    """The frames come in the contract's order, each durable one with its id."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    events = await caller.events(job["job_id"])
    assert [e.event for e in events] == ["started", *["token"] * 12, "end"]
    assert [e.id for e in events] == [None, *map(str, range(12)), "end"]
    assert text(events) == answer(PROMPT, 12)
    assert all("ids" not in json.loads(e.data) for e in events)
    end = json.loads(events[-1].data)
    assert end["tokens_out"] == 12
    assert end["resumed"] == 0
    assert end["finish_reason"] == "length"


@pytest.mark.parametrize("after", ["0", "5", "11"])
async def test_last_event_id_continues_exactly_behind_it(caller, hive, text, after):
    """A reader who comes back gets every later token once, also after the end."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    whole = await caller.events(job["job_id"])
    rest = await caller.events(job["job_id"], after=after)
    assert text(rest) == text(whole[int(after) + 2 :])
    assert rest[-1].event == "end"


async def test_a_reader_who_has_the_end_gets_204(caller, hive):
    """An EventSource that comes back behind the end is told not to."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"])
    reply = await caller.http.get(
        f"/v2/tasks/{job['job_id']}/events", headers={"Last-Event-ID": "end"}
    )
    assert reply.status_code == 204


@pytest.mark.parametrize(
    "faults",
    [
        Faults(break_after=0),
        Faults(break_after=5),
        Faults(silent_after=5),
        Faults(skip_after=4),
        Faults(double_after=4),
        Faults(error_after=3, error_code="WORKER_RESET"),
        Faults(refuse_code="POOL_UNREADY"),
    ],
    ids=lambda faults: repr(faults)[7:40],
)
async def test_a_worker_that_fails_costs_the_caller_nothing(caller, hive, text, faults):
    """Whatever a worker does in mid-stream, the caller gets the whole answer once, in order."""
    await hive.add(FakeWorker("w1", faults=faults))
    await caller.register(hive)
    job = await caller.submit(max_tokens=12)
    bad = hive.workers["w1"]
    await caller.until(lambda: bad.seen.executions > 0)
    good = await hive.add(FakeWorker("w2"))
    events = await caller.events(job["job_id"])
    assert text(events) == answer(PROMPT, 12)
    ids = [int(e.id) for e in events if e.event == "token"]
    assert ids == list(range(12))
    sent = bad.seen.generated if faults.skip_after is None else 4
    had_output = any(e.event == "token" for e in events) and good.seen.replayed > 0
    assert json.loads(events[-1].data)["resumed"] == (1 if had_output else 0)
    assert good.seen.generated + good.seen.replayed == 12
    assert good.seen.replayed <= sent


async def test_an_error_of_the_task_itself_is_not_tried_elsewhere(caller, hive):
    """What another worker would refuse too ends the task with the worker's own code."""
    await hive.add(FakeWorker("w1", faults=Faults(refuse_code="CONTEXT_LENGTH_EXCEEDED", times=9)))
    await hive.add(FakeWorker("w2", faults=Faults(refuse_code="CONTEXT_LENGTH_EXCEEDED", times=9)))
    await caller.register(hive)
    job = await caller.submit()
    events = await caller.events(job["job_id"])
    assert json.loads(events[-1].data)["code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert sum(w.seen.executions for w in hive.workers.values()) == 1


async def test_cancel_ends_the_stream_and_frees_the_slot(caller, hive):
    """After cancel there is no token more, and the worker's slot is free within 250 ms."""
    worker = FakeWorker("w1", slots=1)
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    job = await caller.submit()
    await caller.until(lambda: worker.seen.executions == 1)
    reply = await caller.http.post(f"/v2/tasks/{job['job_id']}/cancel")
    assert reply.status_code == 204
    async with asyncio.timeout(0.25):
        while caller.queen.registry.workers["w1"].in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    events = await caller.events(job["job_id"])
    assert events[-1].event == "error"
    assert json.loads(events[-1].data)["code"] == "CANCELLED"
    again = await caller.http.post(f"/v2/tasks/{job['job_id']}/cancel")
    assert again.status_code == 204


async def test_embeddings_come_as_one_result(caller, hive):
    """An embedding task answers with a result frame in place of tokens."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    reply = await caller.http.post(
        "/v2/tasks", json={"model": "demo", "workload": "embedding", "inputs": ["a", "bc"]}
    )
    events = await caller.events(reply.json()["job_id"])
    assert [e.event for e in events] == ["started", "result", "end"]
    assert [row["embedding"] for row in json.loads(events[1].data)["data"]] == [[1.0], [2.0]]


async def test_a_worker_lost_in_the_moment_of_placement(caller, hive, text, monkeypatch):
    """Its runner is cancelled before its first step: the task is tried again, no slot is stuck."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    dispatcher = caller.queen.dispatcher
    start = dispatcher._start
    lost = []

    def start_and_lose(task, decision):
        start(task, decision)
        if not lost:
            lost.append(task.job_id)
            dispatcher.worker_lost(decision.worker_id, "it went in this very moment")

    monkeypatch.setattr(dispatcher, "_start", start_and_lose)
    job = await caller.submit()
    assert text(await caller.events(job["job_id"])) == answer(PROMPT, 12)
    assert lost == [job["job_id"]]
    assert not caller.queen.registry.workers["w1"].in_flight


async def test_cancel_in_the_moment_of_placement(caller, hive):
    """A task that is cancelled before its runner's first step leaves no slot behind."""
    worker = await hive.add(FakeWorker("w1", slots=1))
    await caller.register(hive)
    replies = await asyncio.gather(
        *(
            caller.http.post(
                "/v2/tasks",
                json={"model": "demo", "prompt": "x", "max_tokens": 2, "task_id": f"c{n}"},
            )
            for n in range(10)
        ),
        *(caller.http.post(f"/v2/tasks/c{n}/cancel") for n in range(10)),
    )
    assert all(reply.status_code in (202, 204, 404) for reply in replies)
    for number in range(10):
        await caller.until_state(f"c{number}", "done", "cancelled")
    await caller.until(lambda: not caller.queen.registry.workers["w1"].in_flight)
    assert worker.seen.executions <= 10


async def test_a_slow_reader_gets_merged_frames_and_every_token(caller, hive, queen):
    """It does not read while thousands of tokens come: frames merge, none is dropped or doubled."""
    hive.models.clear()
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    tokens = 60_000
    job = await caller.submit(max_tokens=tokens)
    host, port = queen.url.removeprefix("http://").split(":")
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=small, limit=2**12)
    writer.write(f"GET /v2/tasks/{job['job_id']}/events HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    await caller.until_state(job["job_id"], "done")
    raw = b""
    while chunk := await reader.read(2**16):
        raw += chunk
    writer.close()
    events = SseDecoder().feed(raw.partition(b"\r\n\r\n")[2])
    indices, merged = [], 0
    for event in events:
        if event.event == "token":
            data = json.loads(event.data)
            merged += "batch" in data
            indices += [item["i"] for item in data.get("batch", [data])]
            assert int(event.id) == indices[-1]
    assert indices == list(range(tokens))
    assert merged > 0


async def test_a_full_disk_pauses_the_stream_and_loses_nothing(caller, hive, text, monkeypatch):
    """The journal cannot be written for a while: no token is sent unjournaled, then it goes on."""
    worker = FakeWorker("w1", token_s=0.005)
    await hive.add(worker)
    await caller.register(hive)
    append = Journal.append
    state = {"full": False}

    def append_or_fail(self, lines):
        if state["full"]:
            raise Unavailable("No space left on device", code="STORE_UNAVAILABLE")
        append(self, lines)

    monkeypatch.setattr(Journal, "append", append_or_fail)
    job = await caller.submit(max_tokens=60)
    await caller.until(lambda: worker.seen.generated > 5)
    state["full"] = True
    await caller.until(lambda: worker.seen.executions > 0 and worker.seen.cancelled > 0)
    state["full"] = False
    events = await caller.events(job["job_id"])
    assert text(events) == answer(PROMPT, 60)
    assert events[-1].event == "end"


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_pin_falls_back_only_where_it_may(caller, hive, fallback):
    """A pinned worker that is busy: with allow_fallback another takes the task, and it is said."""
    busy = FakeWorker("w1", slots=1)
    busy.gate = asyncio.Event()
    await hive.add(busy)
    await hive.add(FakeWorker("w2"))
    await caller.register(hive)
    pin = {"mode": "pin", "worker_id": "w1"}
    await caller.submit(placement=pin)
    job = await caller.submit(placement={**pin, "allow_fallback": fallback})
    info = await caller.until_state(job["job_id"], "done" if fallback else "queued")
    assert info.get("worker_id") == ("w2" if fallback else None)
    if fallback:
        said = (await caller.http.get(f"/v2/tasks/{job['job_id']}/explain")).json()["text"]
        assert "pin could not be kept" in said
    busy.gate.set()


async def test_a_hung_engine_is_left(caller, hive, text, monkeypatch):
    """It pings, but its step counter stands still: the stream goes on elsewhere."""
    monkeypatch.setattr(relay, "HUNG_UNKNOWN_S", 0.6)
    await hive.add(FakeWorker("w1", faults=Faults(stall_after=4)))
    await caller.register(hive)
    job = await caller.submit()
    await hive.add(FakeWorker("w2"))
    events = await caller.events(job["job_id"])
    assert text(events) == answer(PROMPT, 12)
    assert json.loads(events[-1].data)["resumed"] == 1


async def test_a_long_prompt_is_no_hang(caller, hive, text, monkeypatch):
    """No token for longer than the patience, but the step counter grows: nothing happens."""
    monkeypatch.setattr(relay, "HUNG_UNKNOWN_S", 0.6)
    monkeypatch.setattr(relay, "HUNG_LEAST_S", 0.6)
    worker = FakeWorker("w1")
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    job = await caller.submit()
    await asyncio.sleep(1.5)
    worker.gate.set()
    events = await caller.events(job["job_id"])
    assert text(events) == answer(PROMPT, 12)
    assert json.loads(events[-1].data)["resumed"] == 0
    assert worker.seen.executions == 1


async def test_the_seam_for_other_apis(caller, hive):
    """In-process: a task, told when a worker took it, its frames; left early it is cancelled."""
    worker = FakeWorker("w1")
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    queen = caller.queen
    request = TaskRequest(model="demo", prompt=PROMPT, max_tokens=12)
    task, frames = await queen.submit(request, LOCAL_ADMIN)
    async with asyncio.timeout(5):
        await task.taken.wait()
    worker.gate.set()
    seen = [frame async for batch in frames for frame in batch]
    assert [frame.event for frame in seen] == ["started", *["token"] * 12, "end"]
    worker.gate.clear()
    task, frames = await queen.submit(request, LOCAL_ADMIN)
    async with aclosing(frames):
        async for _ in frames:
            break
    await caller.until(lambda: task.state == "cancelled", timeout=2)
    worker.faults = Faults(refuse_code="CONTEXT_LENGTH_EXCEEDED")
    task, frames = await queen.submit(request, LOCAL_ADMIN)
    async with asyncio.timeout(5):
        await task.taken.wait()
    assert task.error.code == "CONTEXT_LENGTH_EXCEEDED"
    await frames.aclose()


async def test_a_long_prompt_finds_the_worker_with_room(caller, hive):
    """What one worker refuses as too long is given to one with a larger context, uncounted."""
    await hive.add(FakeWorker("w1", context=8))
    await hive.add(FakeWorker("w2", context=64))
    await caller.register(hive)
    job = await caller.submit(prompt="bee " * 20)
    assert (await caller.events(job["job_id"]))[-1].event == "end"
    assert (await caller.until_state(job["job_id"], "done"))["worker_id"] == "w2"
    too_long = await caller.submit(prompt="bee " * 100)
    last = json.loads((await caller.events(too_long["job_id"]))[-1].data)
    assert last["code"] == "CONTEXT_LENGTH_EXCEEDED"


async def test_a_session_is_cold_when_its_worker_is_gone(caller, hive):
    """Its prefix went with the worker: the session's page no longer says warm."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit(session_id="s")
    await caller.events(job["job_id"])
    assert (await caller.http.get("/v2/sessions/s")).json()["kv_warmth"] == 1.0
    await hive.kill("w1")
    await caller.until(lambda: not caller.queen.registry.workers)
    assert (await caller.http.get("/v2/sessions/s")).json()["kv_warmth"] == 0.0


async def test_an_engine_that_hangs_everywhere_is_a_decode_timeout(caller, hive, monkeypatch):
    """Out of attempts, the code says that engines made no progress, not that workers died."""
    monkeypatch.setattr("rbee_agent.queen.relay.HUNG_UNKNOWN_S", 0.3)
    monkeypatch.setattr("rbee_agent.queen.relay.HUNG_LEAST_S", 0.3)
    monkeypatch.setattr("rbee_agent.queen.dispatch.ATTEMPTS", 2)
    for name in ("w1", "w2"):
        await hive.add(FakeWorker(name, faults=Faults(stall_after=0, times=9)))
    await caller.register(hive)
    job = await caller.submit()
    last = json.loads((await caller.events(job["job_id"]))[-1].data)
    assert last["code"] == "DECODE_TIMEOUT"


async def test_open_tasks_are_listed_as_they_are(caller, hive):
    """The store learns how a task ends; that it runs, and where, the queen knows herself."""
    worker = FakeWorker("w1", slots=1)
    worker.gate = asyncio.Event()
    await hive.add(worker)
    await caller.register(hive)
    first, second = await caller.submit(), await caller.submit(session_id="s-1")

    async def listed(query: str) -> list[str]:
        tasks = (await caller.http.get(f"/v2/tasks?{query}")).json()["tasks"]
        return [task["job_id"] for task in tasks]

    assert await listed("state=running") == [first["job_id"]]
    assert await listed("state=queued") == [second["job_id"]]
    assert await listed("state=queued&session_id=other") == []
    assert await listed("limit=9") == [second["job_id"], first["job_id"]]
    worker.gate.set()
    await caller.events(second["job_id"])
    assert await listed("state=running") == []
