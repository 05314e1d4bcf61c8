"""The API: every refusal with its code, nothing echoed, the document and the metrics."""

from __future__ import annotations

import json
import math

import pytest

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
