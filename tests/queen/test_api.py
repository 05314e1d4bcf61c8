"""The API: every refusal with its code, nothing echoed, idempotent POSTs, roles."""

from __future__ import annotations

import asyncio
import json
import math

import httpx
import pytest

from rbee_agent.errors import Unavailable
from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker

SECRET = "my secret prompt"


def code(reply) -> str:
    return reply.json()["error"]["code"]


async def test_every_violation_is_told_at_once_and_no_value(caller):
    """400 names each field; the prompt is not in the answer."""
    body = {
        "model": "",
        "prompt": SECRET,
        "temperature": 9,
        "stop": ["a"] * 5,
        "max_tokens": 0,
        "colour": "red",
    }
    reply = await caller.http.post("/v2/tasks", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    fields = {item["field"] for item in error["details"]["errors"]}
    assert {"model", "temperature", "stop", "max_tokens", "colour"} <= fields
    assert SECRET not in reply.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "name"),
    [
        (b"{", {"Content-Type": "application/json"}, 400, "INVALID_PARAMS"),
        (b"[]", {"Content-Type": "application/json"}, 400, "INVALID_PARAMS"),
        (b"\xff\xfe", {"Content-Type": "application/json"}, 400, "INVALID_PARAMS"),
        (b"[" * 100_000, {"Content-Type": "application/json"}, 400, "INVALID_PARAMS"),
        (b"a=b", {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            b'{"model":"demo","prompt":"x","logit_bias":{"5":1e999}}',
            {"Content-Type": "application/json"},
            400,
            "INVALID_PARAMS",
        ),
        (b'{"model":"\\ud800"}', {"Content-Type": "application/json"}, 400, "INVALID_PARAMS"),
        (b" " * (17 * 2**20), {"Content-Type": "application/json"}, 413, "PAYLOAD_TOO_LARGE"),
    ],
    ids=["cut", "list", "bytes", "deep", "text", "infinite", "surrogate", "large"],
)
async def test_malformed_bodies(caller, content, headers, status, name):
    """Whatever is sent, the answer is a clear refusal and never a 500."""
    reply = await caller.http.post("/v2/tasks", content=content, headers=headers)
    assert reply.status_code == status
    assert code(reply) == name


HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": float("1e308")},
        {"max_tokens": 10**30},
        {"seed": -1},
        {"deadline_ms": 10**18},
        {"task_id": "../x"},
        {"task_id": "a\x1b[2J"},
        {"session_id": ""},
        {"messages": [{"role": "user", "content": "x"}]},
        {"placement": {"mode": "pin"}},
        {"priority": "urgent"},
        {"budget": {"tokens": 0}},
        {"temperature": float("nan")},
        {"logit_bias": {"5": float("nan")}},
        {"logit_bias": {"5": float("inf")}},
        {"prompt": None, "messages": HELLO, "chat_template_kwargs": {"x": math.nan}},
        {"tools": [{"type": "function", "function": {"name": "\ud800"}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"a": "\udfff"}}},
    ],
    ids=ascii,
)
async def test_absurd_values(caller, change):
    """Numbers and names out of range are 400, with the field."""
    body = {"model": "demo", "prompt": "x", **change}
    reply = await caller.http.post(
        "/v2/tasks", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 400
    assert code(reply) == "INVALID_PARAMS"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/tasks/nope"),
        ("GET", "/v2/tasks/nope/events"),
        ("POST", "/v2/tasks/nope/cancel"),
        ("GET", "/v2/tasks/nope/explain"),
        ("GET", "/v2/sessions/nope"),
        ("DELETE", "/v2/sessions/nope"),
        ("DELETE", "/v2/nodes/nope"),
        ("DELETE", "/v2/workers/nope"),
        ("GET", "/v2/workers/nope/logs"),
        ("GET", "/v2/pools/nope/health"),
        ("DELETE", "/v2/keys/nope"),
        ("GET", "/nowhere"),
        ("GET", "/v2/tasks/%2e%2e%2fetc%2fpasswd"),
    ],
)
async def test_unknown_ids_are_404(caller, method, path):
    """What is not there is said not to be there, in our shape."""
    reply = await caller.http.request(method, path)
    assert reply.status_code == 404
    assert code(reply) == "NOT_FOUND"


async def test_an_unknown_model_names_the_nearest(caller, hive):
    """404 with the nearest names and how to get a model."""
    await caller.register(hive)
    reply = await caller.http.post("/v2/tasks", json={"model": "demmo", "prompt": "x"})
    assert reply.status_code == 404
    assert code(reply) == "MODEL_NOT_FOUND"
    assert "demo" in reply.json()["error"]["message"]
    assert "rbee model pull" in reply.json()["error"]["message"]


async def test_a_retired_model_is_409(caller, hive):
    """A model that was retired takes no new tasks, and takes them again when it is active."""
    await caller.register(hive)
    await caller.http.post("/v2/catalog/models", json={"id": "old"})
    path = "/v2/catalog/models/old/state"
    assert (await caller.http.post(path, json={"state": "Retired"})).status_code == 200
    reply = await caller.http.post("/v2/tasks", json={"model": "old", "prompt": "x"})
    assert (reply.status_code, code(reply)) == (409, "MODEL_DEPRECATED")


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


async def test_roles_are_asked(places, call):
    """A configured token closes the door; each role opens its own routes only."""
    token = "0123456789abcdef0123"
    async with InProcessQueen(places, settings=QueenSettings(token=token)) as queen:
        caller = call(queen)
        assert (await caller.http.get("/health")).status_code == 200
        assert code(await caller.http.get("/v2/tasks")) == "MISSING_TOKEN"
        admin = {"Authorization": f"Bearer {token}"}
        made = await caller.http.post(
            "/v2/keys", json={"name": "reader", "roles": ["read"]}, headers=admin
        )
        assert made.status_code == 201
        reader = {"Authorization": f"Bearer {made.json()['token']}"}
        assert (await caller.http.get("/v2/tasks", headers=reader)).status_code == 200
        body = {"model": "demo", "prompt": "x"}
        refused = await caller.http.post("/v2/tasks", json=body, headers=reader)
        assert code(refused) == "FORBIDDEN"
        assert code(await caller.http.get("/v2/keys", headers=reader)) == "FORBIDDEN"
        listed = await caller.http.get("/v2/keys", headers=admin)
        assert made.json()["token"] not in listed.text
        await caller.http.aclose()


async def test_a_task_is_read_by_its_owner_only(places, hive, call):
    """Another key's task is not there for a submitter."""
    token = "0123456789abcdef0123"
    async with InProcessQueen(places, settings=QueenSettings(token=token)) as queen:
        caller = call(queen)
        admin = {"Authorization": f"Bearer {token}"}
        await hive.add(FakeWorker("w1"))
        await caller.http.post("/v2/nodes/register", json=hive.registration().dump(), headers=admin)
        keys = []
        for name in ("ann", "ben"):
            made = await caller.http.post(
                "/v2/keys", json={"name": name, "roles": ["submit"]}, headers=admin
            )
            keys.append({"Authorization": f"Bearer {made.json()['token']}"})
        body = {"model": "demo", "prompt": "x", "max_tokens": 2}
        job = (await caller.http.post("/v2/tasks", json=body, headers=keys[0])).json()["job_id"]
        for path in ("", "/events", "/explain"):
            mine = await caller.http.get(f"/v2/tasks/{job}{path}", headers=keys[0])
            other = await caller.http.get(f"/v2/tasks/{job}{path}", headers=keys[1])
            assert (mine.status_code, other.status_code) == (200, 404)
        assert (await caller.http.get("/v2/tasks", headers=keys[1])).json()["tasks"] == []
        outside = {**body, "model": "file:/etc/passwd"}
        refused = await caller.http.post("/v2/tasks", json=outside, headers=keys[0])
        assert code(refused) == "FORBIDDEN"
        await caller.http.aclose()


async def test_web_pages_are_refused(caller):
    """A foreign Host or Origin does not reach the queen."""
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        reply = await caller.http.get("/v2/tasks", headers=headers)
        assert (reply.status_code, code(reply)) == (403, "FORBIDDEN")


async def test_clients_never_see_an_address(caller, hive):
    """Neither a worker's URL nor a token stands in any answer or event."""
    worker = await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"], verbose=True)
    for path in ("/v2/workers", "/v2/nodes", "/v2/pools", "/v2/tasks", "/v2/deployments"):
        text = (await caller.http.get(path)).text
        assert worker.url not in text
        assert worker.token not in text
        assert hive.token not in text
    async with caller.http.stream("GET", "/v2/events") as reply:
        async for chunk in reply.aiter_text():
            assert worker.token not in chunk
            assert worker.url not in chunk
            break


async def test_the_correlation_id_is_echoed_or_made(caller):
    """A sound id comes back, another is replaced, errors carry it too."""
    mine = await caller.http.get("/health", headers={"X-Correlation-Id": "abc-1"})
    assert mine.headers["X-Correlation-Id"] == "abc-1"
    reply = await caller.http.get("/v2/tasks/nope")
    assert reply.json()["error"]["correlation_id"] == reply.headers["X-Correlation-Id"]


async def test_the_openapi_document_describes_what_is_served(caller):
    """Every route is in it, every reference resolves, and answers have the documented status."""
    document = (await caller.http.get("/openapi.json")).json()
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in caller.queen_app.router.routes()
    }
    described = {(method, path) for path, ops in document["paths"].items() for method in ops}
    assert described == served
    text = json.dumps(document)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part[: part.index('"')] in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        get = operations.get("get")
        if get is None or "{" in path or "text/event-stream" in json.dumps(get):
            continue
        reply = await caller.http.get(path)
        assert str(reply.status_code) in get["responses"], path


CONTRACT_METRICS = {
    f"rbee_{name}"
    for name in [
        "tasks_enqueued_total",
        "tasks_started_total",
        "tasks_finished_total",
        "tasks_canceled_total",
        "tasks_rejected_total",
        "tasks_resumed_total",
        "queue_depth",
        "workers",
        "nodes",
        "slots",
        "vram_bytes",
        "gpu_utilization_ratio",
        "gpu_temperature_celsius",
        "gpu_power_watts",
        "kv_cache_usage_ratio",
        "model_state",
        "queue_wait_seconds",
        "first_token_seconds",
        "inter_token_seconds",
        "task_seconds",
        "router_overhead_seconds",
        "placement_seconds",
        "model_load_seconds",
        "tokens_in_total",
        "tokens_out_total",
        "tokens_cached_total",
        "placement_decisions_total",
        "policy_errors_total",
        "admission_backpressure_events_total",
        "audit_entries_total",
    ]
}


async def test_metrics_have_the_names_of_the_contract(caller, hive):
    """Counters count what happened; no task id is a label."""
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"])
    text = (await caller.http.get("/metrics")).text
    for name in (
        "rbee_tasks_enqueued_total 1.0",
        "rbee_tasks_started_total 1.0",
        'rbee_tasks_finished_total{outcome="done"} 1.0',
        "rbee_tokens_out_total 12.0",
        'rbee_workers{state="ready"} 1.0',
        'rbee_nodes{state="online"} 1.0',
        'rbee_queue_depth{priority="interactive"} 0.0',
        "rbee_queue_wait_seconds_count 1.0",
        "rbee_first_token_seconds_count 1.0",
        "rbee_placement_seconds_count",
        'rbee_slots{state="free"} 4.0',
        'rbee_model_state{model="demo",state="ready"} 1.0',
        'rbee_placement_decisions_total{fallback="no",outcome="placed",pinned="no"} 1.0',
    ):
        assert name in text, name
    assert job["job_id"] not in text
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert CONTRACT_METRICS - families == set()


@pytest.mark.parametrize(
    "change",
    [
        {"node_id": ""},
        {"node_id": "a/b"},
        {"url": "ftp://x"},
        {"url": "http://"},
        {"url": "http://x:99999"},
        {"url": "http://[::1"},
        {"url": "http://x\r\nHost: y"},
        {"token": "a\r\nb"},
        {"token": "\u00e9"},
    ],
    ids=str,
)
async def test_an_odd_registration_is_refused(caller, change):
    """What no request could be made of never reaches a link."""
    body = {"node_id": "n", "url": "http://127.0.0.1:1", "token": "t", **change}
    reply = await caller.http.post("/v2/nodes/register", json=body)
    assert reply.status_code == 400
    assert code(reply) == "INVALID_PARAMS"
    assert caller.queen.registry.nodes == {}


async def test_an_odd_hive_does_not_take_the_queen_with_it(caller, hive, monkeypatch):
    """A bug in one link is logged; the queen and the other hosts go on."""
    hold = caller.queen.links._hold

    async def odd(node):
        if node.id == "odd":
            raise RuntimeError("never thought of")
        return await hold(node)

    monkeypatch.setattr(caller.queen.links, "_hold", odd)
    body = {"node_id": "odd", "url": "http://127.0.0.1:1"}
    await caller.http.post("/v2/nodes/register", json=body)
    await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    assert (await caller.events(job["job_id"]))[-1].event == "end"


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
