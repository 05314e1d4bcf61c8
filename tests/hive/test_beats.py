"""Heartbeats: what they say, and what becomes of one that is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from rbee_agent.contracts.nodes import NodeRegistration, Telemetry
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.hive.beats import Beats, QueenAddress, heartbeat
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.http.server import Server
from tests.waiting import eventually

TOLD = Telemetry(node_id="n1", at=1.0, disk_free=7)


def worker(number: int, state: WorkerState, *, busy: int = 0) -> WorkerInfo:
    """A worker of the model m with four slots."""
    return WorkerInfo(
        id=f"n1.{number}",
        node_id="n1",
        model="m",
        fingerprint="f",
        state=state,
        backend="cpu",
        device="cpu",
        context=512,
        slots=4,
        slots_busy=busy,
    )


def test_a_heartbeat_tells_what_the_host_has_to_offer() -> None:
    """The telemetry, models, and pools with the slots of the workers that are ready."""
    ready = [worker(1, WorkerState.READY, busy=3), worker(2, WorkerState.READY)]
    said = heartbeat(TOLD, [*ready, worker(3, WorkerState.LOADING)], ["m"]).dump()
    pool = {"model": "m", "device": "cpu", "workers": 2, "slots": 8, "slots_busy": 3}
    assert said["pools"] == [pool]
    assert (said["models"], said["disk_free"]) == (["m"], 7)


async def test_a_lost_heartbeat_is_followed_by_the_next() -> None:
    """No registration anew for a broken connection; one when the queen knows the hive no more."""
    asked: list[str] = []
    answers: list[Any] = [204, "cut", 204, 404, 204]

    async def register(_: web.Request) -> web.Response:
        asked.append("register")
        return web.json_response({})

    async def beat(request: web.Request) -> web.Response:
        answer = answers.pop(0)
        asked.append(f"beat {answer}")
        if answer == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == 404:
            error = {"code": "NOT_FOUND", "message": "no such host"}
            return web.json_response({"error": error}, status=404)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/v2/nodes/register", register)
    app.router.add_post("/v2/nodes/n1/heartbeat", beat)
    server = Server(app, shutdown_timeout=0.1)
    await server.start("127.0.0.1", 0, choose="another")
    async with aiohttp.ClientSession() as session:
        said = NodeRegistration(node_id="n1", url="http://127.0.0.1:9", token="t" * 20)
        queen = QueenAddress(f"http://127.0.0.1:{server.port}")
        beats = Beats(session, queen, said, HiveFeed())
        running = asyncio.create_task(beats.run())

        def all_told() -> bool:
            beats.beat(heartbeat(TOLD, [], []))
            return not answers

        await eventually(all_told)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await server.close()
    assert asked == [
        *("register", "beat 204", "beat cut", "beat 204", "beat 404"),
        *("register", "beat 204"),
    ]
