"""The frame of every server: one error shape, no web pages, ports that explain themselves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web
from pydantic import BaseModel

from rbee_agent.errors import Conflict, Refused, Unavailable
from rbee_agent.http.capacity import at_most
from rbee_agent.http.middleware import correlate, refuse_web_pages
from rbee_agent.http.server import Server, read_json_object
from rbee_agent.http.sse import SseWriter
from rbee_agent.wire.sse import SseDecoder


class _Body(BaseModel):
    number: int


async def _echo(request: web.Request) -> web.Response:
    body = _Body.model_validate(await read_json_object(request, max_bytes=1000))
    return web.json_response({"number": body.number})


async def _busy(_: web.Request) -> web.Response:
    raise Unavailable("come again", retry_after_ms=1500)


async def _bug(_: web.Request) -> web.Response:
    raise ZeroDivisionError("a secret detail")


async def _count(request: web.Request) -> web.StreamResponse:
    async with SseWriter(request, ping_interval=0.02) as stream:
        await stream.send("one", event="n", id="1")
        await asyncio.sleep(0.1)
        await stream.send("two", event="n", id="2")
    return stream.response


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server with the shared middleware."""
    app = web.Application(middlewares=[correlate, refuse_web_pages()])
    app.router.add_post("/echo", _echo)
    app.router.add_get("/busy", _busy)
    app.router.add_get("/bug", _bug)
    app.router.add_get("/count", _count)
    server = Server(app)
    await server.start("127.0.0.1", 0, choose="--port N")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.close()


@pytest.mark.parametrize(
    ("path", "send", "status", "code"),
    [
        (
            "/echo",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            "INVALID_PARAMS",
        ),
        (
            "/echo",
            {"content": b"[1]", "headers": {"Content-Type": "application/json"}},
            400,
            "INVALID_PARAMS",
        ),
        (
            "/echo",
            {"content": b"[" * 900, "headers": {"Content-Type": "application/json"}},
            400,
            "INVALID_PARAMS",
        ),
        ("/echo", {"json": {"number": "x"}}, 400, "INVALID_PARAMS"),
        ("/echo", {"data": {"a": "1"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "/echo",
            {"content": b"x", "headers": {"Content-Type": "text/html"}},
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("/echo", {"json": {"number": "1" * 2000}}, 413, "PAYLOAD_TOO_LARGE"),
        ("/none", {"json": {}}, 404, "NOT_FOUND"),
    ],
)
async def test_bad_input_has_one_shape(
    http: httpx.AsyncClient, path: str, send: dict[str, object], status: int, code: str
) -> None:
    """Whatever is wrong, the answer is the contract's error with a correlation id."""
    answer = await http.post(path, **send)  # type: ignore[arg-type]

    error = answer.json()["error"]
    assert (status, code) == (answer.status_code, error["code"])
    assert error["correlation_id"] == answer.headers["X-Correlation-Id"]


async def test_a_method_that_a_route_does_not_take(http: httpx.AsyncClient) -> None:
    """The answer says which ones it takes."""
    answer = await http.get("/echo")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "this route takes POST, not GET"


async def test_a_violation_never_echoes_the_value(http: httpx.AsyncClient) -> None:
    """What was sent may be a prompt or a secret."""
    answer = await http.post("/echo", json={"number": "my-secret"})

    assert "my-secret" not in answer.text
    assert answer.json()["error"]["details"]["errors"][0]["field"] == "number"


async def test_unavailable_says_when(http: httpx.AsyncClient) -> None:
    """503 carries whole seconds for HTTP clients and milliseconds for ours."""
    answer = await http.get("/busy")

    assert (
        answer.status_code,
        answer.headers["Retry-After"],
        answer.headers["X-Backoff-Ms"],
    ) == (503, "2", "1500")


async def test_a_bug_is_an_internal_error_without_detail(http: httpx.AsyncClient) -> None:
    """The log has the traceback; the caller has not."""
    answer = await http.get("/bug")

    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
async def test_no_web_page_reaches_an_agent(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """A foreign Host (DNS rebinding) or Origin is refused before any handler runs."""
    answer = await http.get("/busy", headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_stream_pings_while_quiet(http: httpx.AsyncClient) -> None:
    """Comments keep the connection awake and are no events."""
    decoder = SseDecoder()
    answer = await http.get("/count", headers={"X-Correlation-Id": "mine-1"})

    events = decoder.feed(answer.content)
    assert [(event.data, event.id) for event in events] == [("one", "1"), ("two", "2")]
    assert decoder.comments >= 1
    assert answer.headers["X-Correlation-Id"] == "mine-1"


async def test_a_port_in_use_names_its_holder(http: httpx.AsyncClient) -> None:
    """The refusal says which process has the port and how to choose another."""
    with pytest.raises(Conflict, match=rf"in use by .*pid {os.getpid()}.*--port N"):
        await Server(web.Application()).start(
            "127.0.0.1", http.base_url.port or 0, choose="--port N"
        )


async def test_an_impossible_address_is_refused() -> None:
    """An address that is not ours is a sentence, not a traceback."""
    with pytest.raises(Refused, match="cannot listen on 192"):
        await Server(web.Application()).start("192.0.2.1", 0, choose="--host A")


async def test_a_vanished_reader_is_given_up():
    """Bytes of an event stream may stay unacknowledged for half a minute, not for fifteen."""
    told = []

    async def stream(request: web.Request) -> web.StreamResponse:
        async with SseWriter(request) as writer:
            assert request.transport is not None
            connection = request.transport.get_extra_info("socket")
            told.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return writer.response

    app = web.Application()
    app.router.add_get("/", stream)
    server = Server(app)
    await server.start("127.0.0.1", 0, choose="--port N")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        await client.get("/")
    await server.close()

    assert told == [30_000]


async def test_more_requests_than_it_may_hold_are_told_when():
    """Beyond its bound a server refuses with a reason; one that leaves makes room for another."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def stay(_: web.Request) -> web.StreamResponse:
        inside.set()
        await leave.wait()
        return web.Response()

    app = web.Application(middlewares=[correlate, at_most(1)])
    app.router.add_get("/", stay)
    server = Server(app)
    await server.start("127.0.0.1", 0, choose="--port N")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        first = asyncio.create_task(client.get("/"))
        await inside.wait()
        refused = await client.get("/")
        leave.set()
        assert (await first).status_code == 200
        assert (await client.get("/")).status_code == 200
    await server.close()

    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["error"]["code"] == "ADMISSION_REJECT"
