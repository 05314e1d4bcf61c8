"""Calls of the request-shaped APIs: admission, the held headers, cancelling, failures."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from rbee_agent.queen.api import call as calls
from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, Faults, answer

CHAT = "/v1/chat/completions"
ASK = {"model": "demo", "messages": [{"role": "user", "content": "hello bees"}], "max_tokens": 6}


def chunks(text: str) -> list[dict]:
    """The JSON of all data lines but the last mark."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def fleet(caller, hive, **how) -> FakeWorker:
    """One worker that the queen knows."""
    worker = FakeWorker("w1", **how)
    await hive.add(worker)
    await caller.register(hive)
    return worker


def the_task(caller):
    """The only task that is open."""
    (task,) = caller.queen.tasks.queue.open.values()
    return task


async def test_a_whole_answer_and_its_headers(caller, hive):
    """Text, usage, finish reason; the id in the header is one that explain takes."""
    await fleet(caller, hive)
    reply = await caller.http.post(CHAT, json=ASK)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["choices"][0]["message"]["content"] == answer("hello bees", 6)
    assert said["choices"][0]["finish_reason"] == "length"
    assert said["usage"]["prompt_tokens"] == 2
    assert said["usage"]["total_tokens"] == 8
    assert float(reply.headers["x-rbee-overhead-ms"]) >= 0
    assert int(reply.headers["x-rbee-queue-ms"]) >= 0
    task = await caller.http.get(f"/v2/tasks/{reply.headers['X-Request-Id']}/explain")
    assert task.status_code == 200


async def test_a_stream(caller, hive):
    """The role first, then text, the finish reason, the usage that was asked for, and the mark."""
    await fleet(caller, hive)
    body = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    reply = await caller.http.post(CHAT, json=body)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.text.endswith("data: [DONE]\n\n")
    said = chunks(reply.text)
    assert said[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in said[:-1])
    assert text == answer("hello bees", 6)
    assert said[-2]["choices"][0]["finish_reason"] == "length"
    assert said[-1]["choices"] == []
    assert said[-1]["usage"]["completion_tokens"] == 6
    assert all(chunk["usage"] is None for chunk in said[:-1])


async def test_a_refusal_of_the_worker_is_an_http_error(caller, hive):
    """What only the worker knows is still a status, in a stream too, because the headers wait."""
    await fleet(caller, hive, faults=Faults(refuse_code="CONTEXT_LENGTH_EXCEEDED"))
    reply = await caller.http.post(CHAT, json={**ASK, "stream": True})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "context_length_exceeded"


async def test_the_headers_wait_only_a_moment(caller, hive, monkeypatch):
    """A stream whose task must wait gets its headers, then pings, then its tokens."""
    monkeypatch.setattr(calls, "HOLD_S", 0.05)
    worker = await fleet(caller, hive, slots=1)
    worker.gate = asyncio.Event()
    await caller.submit()
    async with caller.http.stream("POST", CHAT, json={**ASK, "stream": True}) as reply:
        assert reply.status_code == 200
        worker.gate.set()
        text = (await reply.aread()).decode()
    assert text.endswith("data: [DONE]\n\n")


async def test_a_silent_stream_pings(caller, hive, monkeypatch):
    """While a prompt is read or a model loads, comments keep clients and proxies awake."""
    monkeypatch.setattr(calls, "PING_INTERVAL_S", 0.02)
    worker = await fleet(caller, hive)
    worker.gate = asyncio.Event()
    seen = b""
    async with caller.http.stream("POST", CHAT, json={**ASK, "stream": True}) as reply:
        async for part in reply.aiter_bytes():
            seen += part
            if seen.count(b": ping\n\n") >= 3:
                worker.gate.set()
    assert seen.count(b": ping\n\n") >= 3
    assert seen.endswith(b"data: [DONE]\n\n")


async def test_a_failure_in_mid_stream(caller, hive):
    """An error in place of the end, and no mark: OpenAI's clients raise on it."""
    await fleet(caller, hive, faults=Faults(error_after=3, error_code="INTERNAL"))
    reply = await caller.http.post(CHAT, json={**ASK, "stream": True})
    assert reply.status_code == 200
    last = chunks(reply.text)[-1]
    assert last["error"]["type"] == "server_error"
    assert "[DONE]" not in reply.text


async def test_a_failure_of_a_whole_answer(caller, hive):
    """It has its status, and says that trying again is no use."""
    await fleet(caller, hive, faults=Faults(error_after=3, error_code="INTERNAL"))
    reply = await caller.http.post(CHAT, json=ASK)
    assert reply.status_code == 500
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [True, False])
async def test_who_hangs_up_cancels_at_once(caller, hive, stream):
    """No grace on these APIs: the slot is free again, and nothing is generated for nobody."""
    worker = await fleet(caller, hive)
    worker.gate = asyncio.Event()
    body = {**ASK, "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        async with caller.http.stream("POST", CHAT, json=body, timeout=1.0) as reply:
            await reply.aread()
    await caller.until(lambda: worker.seen.cancelled == 1)
    assert caller.queen.tasks.queue.open == {}


async def test_who_hangs_up_while_the_headers_wait_cancels_too(caller, hive):
    """Nobody has begun to read: the waiting task goes all the same."""
    worker = await fleet(caller, hive, slots=1)
    worker.gate = asyncio.Event()
    first = await caller.submit()
    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post(CHAT, json={**ASK, "stream": True}, timeout=0.3)
    await caller.until(lambda: list(caller.queen.tasks.queue.open) == [first["job_id"]])
    worker.gate.set()
    await caller.until_state(first["job_id"], "done")
    assert worker.seen.executions == 1


async def test_who_hangs_up_on_the_way_to_the_disk_leaves_no_task(caller, hive, monkeypatch):
    """Unlike a task of /v2, which runs on: here nobody could ever ask for it."""
    worker = await fleet(caller, hive)
    store, gate = caller.queen.store, asyncio.Event()
    add_task = store.add_task

    async def slow(record):
        fresh = await add_task(record)
        await gate.wait()
        return fresh

    monkeypatch.setattr(store, "add_task", slow)
    worker.gate = asyncio.Event()
    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post(CHAT, json=ASK, timeout=0.3)
    gate.set()
    recent = caller.queen.tasks.recent
    await caller.until(lambda: [info.state for info in recent.values()] == ["cancelled"])


async def test_a_restart_of_the_queen_ends_what_nobody_can_read(places, hive, call):
    """A task of /v2 goes on in the next queen; a call went with its connection."""
    worker = FakeWorker("w1")
    worker.gate = asyncio.Event()
    await hive.add(worker)
    async with InProcessQueen(places) as first:
        caller = call(first)
        await caller.register(hive)
        kept = await caller.submit()
        posting = asyncio.ensure_future(caller.http.post(CHAT, json=ASK))
        await caller.until(lambda: worker.seen.executions == 2)
        (held,) = set(caller.queen.tasks.queue.open) - {kept["job_id"]}
    with pytest.raises(httpx.HTTPError):
        await posting
    await caller.http.aclose()
    async with InProcessQueen(places) as second:
        caller = call(second)
        await caller.until_state(held, "cancelled")
        worker.gate.set()
        await caller.register(hive)
        await caller.until_state(kept["job_id"], "done")
        await caller.http.aclose()


async def test_several_choices_are_several_tasks(caller, hive):
    """Each choice is whole, the prompt is counted once, and the seeds differ."""
    worker = await fleet(caller, hive)
    body = {**ASK, "n": 3, "seed": 7, "stream": True, "stream_options": {"include_usage": True}}
    said = chunks((await caller.http.post(CHAT, json=body)).text)
    for place in range(3):
        mine = [c["choices"][0] for c in said[:-1] if c["choices"][0]["index"] == place]
        assert "".join(c["delta"].get("content", "") for c in mine) == answer("hello bees", 6)
        assert mine[-1]["finish_reason"] == "length"
    assert said[-1]["usage"]["prompt_tokens"] == 2
    assert said[-1]["usage"]["completion_tokens"] == 18
    assert sorted(one.sampling.seed for one in worker.seen.requests) == [7, 8, 9]
    whole = (await caller.http.post(CHAT, json={**ASK, "n": 2})).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]


async def test_one_of_several_choices_fails(caller, hive):
    """The call fails, and the others are not generated for nobody."""
    worker = await fleet(caller, hive, faults=Faults(error_after=2))
    worker.gate = asyncio.Event()
    posting = asyncio.ensure_future(caller.http.post(CHAT, json={**ASK, "n": 3}))
    await caller.until(lambda: worker.seen.executions == 3)
    worker.gate.set()
    assert (await posting).status_code == 500
    await caller.until(lambda: caller.queen.tasks.queue.open == {})


async def test_sessions_and_determinism_by_header(caller, hive):
    """X-Session-ID is the session; `user` names one too; the wish for strict bytes is kept."""
    worker = await fleet(caller, hive)
    headers = {"X-Session-ID": "mine", "X-Rbee-Determinism": "strict"}
    assert (await caller.http.post(CHAT, json=ASK, headers=headers)).status_code == 200
    assert (await caller.http.get("/v2/sessions/mine")).json()["turns"] == 1
    assert worker.seen.requests[-1].strict
    named = {**ASK, "user": "a b@c"}
    reply = await caller.http.post(CHAT, json=named)
    task = (await caller.http.get(f"/v2/tasks/{reply.headers['X-Request-Id']}")).json()
    assert task["session_id"].startswith("a-b-c-")
    bad = await caller.http.post(CHAT, json=ASK, headers={"X-Rbee-Determinism": "yes"})
    assert bad.status_code == 400
    assert bad.json()["error"]["param"] == "X-Rbee-Determinism"


async def test_the_same_user_of_two_keys_is_two_sessions():
    """Two tenants whose tools both say `user` do not meet."""
    assert calls.session_named("user", "a") != calls.session_named("user", "b")
    assert calls.session_named("user", "a") == calls.session_named("user", "a")


async def test_a_made_up_key_will_do_where_none_is_needed(caller, hive):
    """Libraries insist on a key; on an open queen /v1 takes any, but none that was revoked."""
    await fleet(caller, hive)
    headers = {"Authorization": "Bearer sk-no-key-required"}
    assert (await caller.http.get("/v1/models", headers=headers)).status_code == 200
    assert (await caller.http.get("/v2/pools", headers=headers)).status_code == 401
    made = (await caller.http.post("/v2/keys", json={"name": "k", "roles": ["submit"]})).json()
    mine = {"Authorization": f"Bearer {made['token']}"}
    assert (await caller.http.get("/v1/models", headers=mine)).status_code == 200
    await caller.http.delete(f"/v2/keys/{made['id']}")
    assert (await caller.http.get("/v1/models", headers=mine)).status_code == 401


async def test_refusals_before_any_task_have_the_shape_too(places, call):
    """No token, no such route, no JSON: each as OpenAI's clients read it."""
    settings = QueenSettings(token="a-token-of-sixteen-characters")
    async with InProcessQueen(places, settings=settings) as queen:
        http = call(queen).http
        reply = await http.get("/v1/models")
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["X-Request-Id"] == reply.headers["X-Correlation-Id"]
        mine = {"Authorization": f"Bearer {settings.token}"}
        assert (await http.get("/v1/nothing", headers=mine)).json()["error"]["type"] == (
            "invalid_request_error"
        )
        cut = await http.post(
            CHAT, content=b"{", headers={**mine, "Content-Type": "application/json"}
        )
        assert cut.status_code == 400
        assert cut.json()["error"]["type"] == "invalid_request_error"
        assert (await http.get("/v2/nothing", headers=mine)).json()["error"]["retriable"] is False
        await http.aclose()
