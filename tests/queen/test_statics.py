"""Static workers: named in ORCHD_WORKERS, found out by asking, used like any other."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from rbee_agent.errors import Refused
from rbee_agent.http.server import Server
from rbee_agent.queen.service import QueenOptions
from rbee_agent.queen.statics import parse
from rbee_agent.settings.config import QueenSettings
from rbee_agent.settings.secret import Secret
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker, answer


def options(places, text, token=None) -> QueenOptions:
    return QueenOptions(
        places=places,
        settings=QueenSettings(),
        finds_local_hive=False,
        static_workers=parse(text),
        upstream_token=Secret(token) if token else None,
    )


def test_the_list_is_parsed():
    """Kinds, models behind a hash, and blanks."""
    found = parse("http://a:1, openai+https://b/v1#gpt ,, llama+http://[::1]:8080")
    assert [(w.kind, w.url, w.model) for w in found] == [
        (None, "http://a:1", ""),
        ("openai", "https://b/v1", "gpt"),
        ("llama", "http://[::1]:8080", ""),
    ]


@pytest.mark.parametrize("text", ["ftp://a", "a:8080", "vllm+http://a:1"])
def test_what_is_no_address_is_refused(text):
    """A typo is told at the start."""
    with pytest.raises(Refused, match="ORCHD_WORKERS"):
        parse(text)


async def test_a_worker_of_ours_is_found_out(places, call, text):
    """A plain address is probed; the task runs there and nobody sees the address."""
    async with FakeWorker("w1") as worker:
        made = options(places, worker.url, worker.token)
        async with InProcessQueen(places, options=made) as queen:
            caller = call(queen)
            await caller.until(lambda: bool(queen.queen.registry.workers))
            job = await caller.submit()
            assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
            assert worker.url not in (await caller.http.get("/v2/workers")).text
            await caller.http.aclose()


@asynccontextmanager
async def openai_server(break_after=None):
    """An OpenAI-compatible server that may break off in mid-stream."""

    async def models(_: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": "gpt-bee"}]})

    async def complete(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for place in range(5):
            if place == break_after:
                request.transport.abort()
                return response
            chunk = {"choices": [{"text": f" w{place}"}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/completions", complete)
    server = Server(app, shutdown_timeout=0.05)
    await server.start("127.0.0.1", 0, choose="")
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


async def test_an_openai_server_is_found_out(places, call, text):
    """Neither a worker of ours nor llama-server: its model list tells."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(openai_server())
        queen = await stack.enter_async_context(
            InProcessQueen(places, options=options(places, url))
        )
        caller = call(queen)
        await caller.until(lambda: bool(queen.queen.registry.workers))
        job = await caller.submit(model="gpt-bee", max_tokens=5)
        events = await caller.events(job["job_id"])
        assert text(events) == " w0 w1 w2 w3 w4"
        assert events[-1].event == "end"
        await caller.http.aclose()


async def test_what_cannot_resume_ends_with_an_error(places, call):
    """A stream that broke behind its first token is not begun anew in secret."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(openai_server(break_after=2))
        queen = await stack.enter_async_context(
            InProcessQueen(places, options=options(places, url))
        )
        caller = call(queen)
        await caller.until(lambda: bool(queen.queen.registry.workers))
        job = await caller.submit(model="gpt-bee", max_tokens=5)
        events = await caller.events(job["job_id"])
        assert json.loads(events[-1].data)["code"] == "WORKER_RESET"
        assert len([e for e in events if e.event == "token"]) == 2
        await caller.http.aclose()


async def test_a_worker_without_a_hive_calls_back(places, call, text):
    """POST /v2/workers/ready makes it known, and it takes tasks."""
    async with FakeWorker("lone") as worker:
        made = options(places, "", worker.token)
        async with InProcessQueen(places, options=made) as queen:
            caller = call(queen)
            health = {"status": "ready", "worker_id": "lone", "model": "demo"}
            ready = {"worker_id": "lone", "url": worker.url, "pid": 1, "health": health}
            reply = await caller.http.post("/v2/workers/ready", json=ready)
            assert reply.status_code == 204
            await caller.until(lambda: "lone" in queen.queen.registry.workers)
            job = await caller.submit()
            assert text(await caller.events(job["job_id"])) == answer("hello bees", 12)
            await caller.http.aclose()
