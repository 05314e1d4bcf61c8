"""Adapters: foreign engines over real HTTP, scripted byte for byte."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.adapters.base import Target
from rbee_agent.adapters.llama_server import LlamaServerAdapter
from rbee_agent.adapters.openai_http import OpenAiAdapter
from rbee_agent.adapters.worker import WorkerAdapter, tokens_at_once
from rbee_agent.contracts.tasks import Message
from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.http.server import Server
from rbee_agent.settings.secret import Secret
from rbee_agent.testing.worker import FakeWorker, answer
from rbee_agent.wire.frames import ids_of, index_of, token_frame
from rbee_agent.wire.sse import SseDecoder, encode


@asynccontextmanager
async def engine(routes):
    """A server whose routes answer with JSON, or with lists as event streams."""
    asked = []

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        asked.append((request.path, body, request.headers.get("Authorization")))
        reply = routes[request.path]
        if isinstance(reply, tuple):
            return web.json_response(reply[1], status=reply[0])
        if isinstance(reply, dict):
            return web.json_response(reply)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for item in reply:
            text = item if isinstance(item, str) else json.dumps(item)
            await response.write(f"data: {text}\n\n".encode())
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    server = Server(app, shutdown_timeout=0.05)
    await server.start("127.0.0.1", 0, choose="")
    async with aiohttp.ClientSession() as session:
        yield session, f"http://127.0.0.1:{server.port}", asked
    await server.close()


async def frames(adapter, target, request):
    """All frames of one execution as (event, data)."""
    found = []
    async with adapter.execute(target, request) as events:
        async for batch in events:
            found += [(event.event, event.data) for event in batch]
    return found


async def test_our_worker_is_passed_through():
    """The worker's frames come as they are, ids included."""
    async with FakeWorker("w1") as worker, aiohttp.ClientSession() as session:
        target = Target(worker.url, Secret(worker.token))
        request = ExecuteRequest(job_id="j", prompt="p", max_tokens=5)
        found = await frames(WorkerAdapter(session), target, request)
        assert [event for event, _ in found] == ["accepted", *["token"] * 5, "end"]
        assert all(ids_of(data) for event, data in found if event == "token")
        health = await WorkerAdapter(session).health(target, timeout=2)
        assert health.slots == 4


async def test_a_wrong_token_is_the_workers_own_refusal():
    """The worker's code comes through."""
    async with FakeWorker("w1") as worker, aiohttp.ClientSession() as session:
        with pytest.raises(RbeeError) as caught:
            await frames(
                WorkerAdapter(session),
                Target(worker.url, Secret("wrong")),
                ExecuteRequest(job_id="j", prompt="p"),
            )
        assert caught.value.code == "BAD_TOKEN"


@pytest.mark.parametrize("adapter", [WorkerAdapter, LlamaServerAdapter, OpenAiAdapter])
async def test_nobody_there_is_unreachable(adapter):
    """A refused connection is Unreachable for every kind, in execute and in health."""
    async with aiohttp.ClientSession() as session:
        target = Target("http://127.0.0.1:1")
        with pytest.raises(Unreachable):
            await frames(adapter(session), target, ExecuteRequest(job_id="j", prompt="p"))
        with pytest.raises(Unreachable):
            await adapter(session).health(target, timeout=1)


LLAMA = [
    {"content": " a", "tokens": [5], "stop": False, "tokens_evaluated": 3},
    {"content": " b", "tokens": [6, 7], "stop": False},
    {
        "content": "",
        "tokens": [],
        "stop": True,
        "stop_type": "limit",
        "tokens_evaluated": 3,
        "timings": {"predicted_ms": 12.3, "prompt_ms": 4.0, "cache_n": 2},
    },
]


async def test_llama_server_native_stream():
    """Its chunks become token frames with indices and ids; its timings the bill."""
    async with engine({"/completion": LLAMA}) as (session, url, asked):
        request = ExecuteRequest(job_id="j", prompt="p", max_tokens=3)
        found = await frames(LlamaServerAdapter(session), Target(url), request)
        assert [event for event, _ in found] == ["accepted", "token", "token", "end"]
        tokens = [data for event, data in found if event == "token"]
        assert [index_of(data) for data in tokens] == [0, 2]
        assert [ids_of(data) for data in tokens] == [[5], [6, 7]]
        end = json.loads(found[-1][1])
        assert (end["tokens_in"], end["tokens_out"], end["tokens_cached"]) == (3, 3, 2)
        assert end["finish_reason"] == "length"
        assert asked[0][1]["n_predict"] == 3


async def test_llama_server_resumes_by_ids():
    """The ids that the caller has stand behind the prompt, and indices go on behind them."""
    async with engine({"/completion": LLAMA}) as (session, url, asked):
        request = ExecuteRequest(
            job_id="j", prompt="p", max_tokens=10, resume_token_ids=[1, 2, 3, 4]
        )
        found = await frames(LlamaServerAdapter(session), Target(url), request)
        assert asked[0][1]["prompt"] == ["p", 1, 2, 3, 4]
        assert asked[0][1]["n_predict"] == 6
        assert index_of(found[1][1]) == 4


async def test_llama_server_templates_a_chat():
    """Messages are rendered by the engine itself."""
    routes = {"/apply-template": {"prompt": "<user>hi"}, "/completion": LLAMA}
    async with engine(routes) as (session, url, asked):
        request = ExecuteRequest(job_id="j", messages=[Message(role="user", content="hi")])
        await frames(LlamaServerAdapter(session), Target(url), request)
        assert asked[1][1]["prompt"] == "<user>hi"


async def test_llama_server_refusals_have_our_codes():
    """A prompt that does not fit is CONTEXT_LENGTH_EXCEEDED, a busy server POOL_UNREADY."""
    message = {"error": {"message": "the request exceeds the available context size"}}
    for status, code in ((400, "CONTEXT_LENGTH_EXCEEDED"), (503, "CONTEXT_LENGTH_EXCEEDED")):
        async with engine({"/completion": (status, message)}) as (session, url, _):
            with pytest.raises(RbeeError) as caught:
                await frames(
                    LlamaServerAdapter(session), Target(url), ExecuteRequest(job_id="j", prompt="p")
                )
            assert caught.value.code == code


async def test_llama_server_health():
    """Slots and context from /props, the model's name from /v1/models."""
    routes = {
        "/health": {"status": "ok"},
        "/props": {"total_slots": 3, "default_generation_settings": {"n_ctx": 2048}},
        "/v1/models": {"data": [{"id": "/models/tiny.gguf"}]},
    }
    async with engine(routes) as (session, url, _):
        health = await LlamaServerAdapter(session).health(Target(url), timeout=2)
        assert (health.slots, health.context, health.model) == (3, 2048, "tiny")
    async with engine({"/health": (503, {"error": {"message": "loading"}})}) as (session, url, _):
        health = await LlamaServerAdapter(session).health(Target(url), timeout=2)
        assert health.status == "loading"


async def test_what_an_engine_serves():
    """The names are its own; one that it does not list is told with those that it does."""
    routes = {"/v1/models": {"data": [{"id": "/models/tiny.gguf"}, {"id": "large"}]}}
    async with engine(routes) as (session, url, _):
        assert await LlamaServerAdapter(session).models(Target(url), timeout=2) == ["tiny"]
        openai = OpenAiAdapter(session)
        assert await openai.models(Target(url), timeout=2) == ["/models/tiny.gguf", "large"]
        named = Target(url, None, "large")
        assert (await openai.health(named, timeout=2)).model == "large"
        with pytest.raises(RbeeError, match=r"no gpt, but .*large") as caught:
            await openai.health(Target(url, None, "gpt"), timeout=2)
        assert caught.value.code == "MODEL_NOT_FOUND"
    async with FakeWorker("w1") as worker:
        target = Target(worker.url, Secret(worker.token))
        async with aiohttp.ClientSession() as session:
            assert await WorkerAdapter(session).models(target, timeout=2) == ["demo"]


async def test_openai_chat_stream():
    """Deltas become tokens, reasoning its channel, usage the bill; the key is sent."""
    chunks = [
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"content": "Red"}}]},
        {"choices": [{"delta": {"content": ", blue"}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}},
        "[DONE]",
    ]
    async with engine({"/v1/chat/completions": chunks}) as (session, url, asked):
        request = ExecuteRequest(
            job_id="j", messages=[Message(role="user", content="colours?")], max_tokens=4
        )
        target = Target(url, Secret("sk-123"), "gpt")
        found = await frames(OpenAiAdapter(session), target, request)
        tokens = [json.loads(data) for event, data in found if event == "token"]
        assert [token["t"] for token in tokens] == ["hm", "Red", ", blue"]
        assert tokens[0]["channel"] == "reasoning"
        end = json.loads(found[-1][1])
        assert (end["tokens_in"], end["tokens_out"], end["finish_reason"]) == (7, 4, "length")
        assert asked[0][1]["model"] == "gpt"
        assert asked[0][2] == "Bearer sk-123"


async def test_openai_tool_calls():
    """Pieces of a call keep their order, name and id."""
    first = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}}
    second = {"index": 0, "function": {"arguments": ":1}"}}
    chunks = [
        {"choices": [{"delta": {"tool_calls": [first]}}]},
        {"choices": [{"delta": {"tool_calls": [second]}, "finish_reason": "tool_calls"}]},
        "[DONE]",
    ]
    async with engine({"/v1/chat/completions": chunks}) as (session, url, _):
        request = ExecuteRequest(job_id="j", messages=[Message(role="user", content="x")])
        found = await frames(OpenAiAdapter(session), Target(url), request)
        calls = [json.loads(data) for event, data in found if event == "tool_call"]
        assert "".join(call["arguments_delta"] for call in calls) == '{"a":1}'
        assert calls[0]["name"] == "f"
        assert json.loads(found[-1][1])["finish_reason"] == "tool_calls"


async def test_a_stream_that_breaks_is_unreachable():
    """A connection that ends in mid-chunk is told apart from an end."""

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"content":" a","tokens":[5]}\n\n')
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_post("/completion", broken)
    server = Server(app, shutdown_timeout=0.05)
    await server.start("127.0.0.1", 0, choose="")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unreachable):
            await frames(
                LlamaServerAdapter(session),
                Target(f"http://127.0.0.1:{server.port}"),
                ExecuteRequest(job_id="j", prompt="p"),
            )
    await server.close()


async def test_embeddings_are_one_result():
    """Both foreign kinds answer an embedding with result and end."""
    reply = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 2}}
    request = ExecuteRequest(job_id="j", workload="embedding", inputs=["a"])
    for adapter in (LlamaServerAdapter, OpenAiAdapter):
        async with engine({"/v1/embeddings": reply}) as (session, url, _):
            found = await frames(adapter(session), Target(url), request)
            assert [event for event, _ in found] == ["accepted", "result", "end"]
            assert json.loads(found[1][1])["data"][0]["embedding"] == [1.0]


def test_the_fake_workers_agree():
    """The simulated engines of two workers give the same answer to the same prompt."""
    assert answer("x", 20) == answer("x", 20)
    assert answer("x", 20) != answer("y", 20)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.lists(st.tuples(st.sampled_from(["token", "ping"]), TEXTS), min_size=1, max_size=6),
    st.integers(0, 400),
)
def test_the_fast_way_reads_what_the_decoder_reads(events, cut):
    """Whatever is in a chunk and wherever it ends: the shortcut agrees or stands aside."""
    raw = b"".join(
        encode(
            token_frame(n, text, [n]) if event == "token" else json.dumps({"x": text}),
            event=event,
        )
        for n, (event, text) in enumerate(events)
    )
    for chunk in (raw, raw[:cut]):
        quick = tokens_at_once(chunk)
        if quick is not None:
            assert [(e.event, e.data) for e in quick] == [
                (e.event, e.data) for e in SseDecoder().feed(chunk)
            ]
    if all(event == "token" for event, _ in events) and b"\r" not in raw:
        assert tokens_at_once(raw) is not None
