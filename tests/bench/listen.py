"""What a token costs on its way through a hive's own port: TLS, and the hive between."""

from __future__ import annotations

import asyncio
import socket
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from rbee_agent.hive.passage import pass_on
from rbee_agent.http.peers import pinned
from rbee_agent.http.server import Server
from rbee_agent.security.certificate import own_certificate

FRAME = b'event: token\nid: 123\ndata: {"type":"token","i":123,"t":" hello","ids":[4242]}\n\n'
ROUNDS = 5
STEPS = 1500
BATCH = 16
STEP_S = 0.002
"""Streams that get a frame at each step of an engine."""


async def frames(request: web.Request) -> web.StreamResponse:
    """A worker's stream: a frame at each step."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(STEPS):
        await response.write(FRAME)
        await asyncio.sleep(STEP_S)
    return response


async def read(session: aiohttp.ClientSession, url: str, certificate: str | None) -> int:
    """One stream to its end; its bytes."""
    total = 0
    async with session.get(url, ssl=pinned(certificate)) as response:
        async for chunk in response.content.iter_any():
            total += len(chunk)
    return total


async def cost(session: aiohttp.ClientSession, url: str, certificate: str | None) -> float:
    """CPU of all parts in µs for each frame."""
    before = time.process_time()
    got = await asyncio.gather(*(read(session, url, certificate) for _ in range(BATCH)))
    assert set(got) == {STEPS * len(FRAME)}
    return (time.process_time() - before) * 1e6 / (STEPS * BATCH)


async def run(folder: Path) -> list[tuple[str, list[float]]]:
    """The two ways, round by round."""
    worker, hive = web.Application(), web.Application()
    worker.router.add_get("/execute", frames)
    inside = Server(worker)
    await inside.start("127.0.0.1", 0, choose="")
    straight = f"http://127.0.0.1:{inside.port}/execute"
    async with aiohttp.ClientSession() as session:

        async def passage(request: web.Request) -> web.StreamResponse:
            return await pass_on(session, request, straight)

        hive.router.add_get("/execute", passage)
        outside = Server(hive)
        await outside.start("127.0.0.1", 0, choose="")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        own = own_certificate(folder / "certificate.pem", ["127.0.0.1"])
        await outside.open_port("127.0.0.1", port, choose="", tls=own.for_server())
        ways = [("straight", straight, None)]
        ways += [("through the hive, plain", f"http://127.0.0.1:{outside.port}/execute", None)]
        ways += [("through its port", f"https://127.0.0.1:{port}/execute", own.fingerprint)]
        found: dict[str, list[float]] = {name: [] for name, _, _ in ways}
        for _ in range(ROUNDS):
            for name, url, certificate in ways:
                found[name].append(await cost(session, url, certificate))
        await outside.close()
    await inside.close()
    return list(found.items())


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = uvloop.run(run(Path(folder)))
    print("| way | CPU of all parts µs a frame |")
    print("|---|---|")
    for name, costs in rows:
        print(f"| {name} | {statistics.median(costs):.1f} |")
    print(
        f"\n{BATCH} streams of {STEPS} frames of {len(FRAME)} bytes, {ROUNDS} rounds interleaved."
    )


if __name__ == "__main__":
    main()
