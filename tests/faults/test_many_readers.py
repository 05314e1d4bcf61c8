"""Thousands of open streams: all are served, or told why not; nothing gets stuck."""

from __future__ import annotations

import asyncio
import os
import resource

import httpx
import pytest

from rbee_agent.testing.worker import FakeWorker
from tests.faults.processes import QueenProcess

READERS = 10_000 if "RBEE_LONG" in os.environ else 1_000


@pytest.fixture(autouse=True)
def files():
    """This process opens a connection for each reader."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < READERS + 500:
        pytest.skip("ulimit -Hn is too low for so many readers")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def open_stream(port: int, job_id: str, at_once: asyncio.Semaphore):
    """A reader that has its headers; its status and its connection."""
    async with at_once:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET /v2/tasks/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        writer.write(head.encode())
        status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    return status, reader, writer


@pytest.mark.timeout(300)
async def test_many_readers_of_a_held_task(queen_process: QueenProcess, hive):
    """With all of them open the queen still takes and runs tasks; then each gets the end."""
    worker = FakeWorker("w1", slots=8)
    worker.gate = asyncio.Event()
    await hive.add(worker)
    base = queen_process.url
    async with httpx.AsyncClient(base_url=base, timeout=60) as http:
        await http.post("/v2/nodes/register", json=hive.registration().dump())
        body = {"model": "demo", "prompt": "x", "max_tokens": 5, "detach": True}
        job_id = (await http.post("/v2/tasks", json=body)).json()["job_id"]
        at_once = asyncio.Semaphore(100)
        streams = await asyncio.gather(
            *(open_stream(queen_process.port, job_id, at_once) for _ in range(READERS))
        )
        assert {status for status, _, _ in streams} == {200}
        assert (await http.get("/health")).status_code == 200
        assert (await http.post("/v2/tasks", json=body)).status_code == 202
        worker.gate.set()
        ends = await asyncio.gather(*(reader.readuntil(b"event: end") for _, reader, _ in streams))
        assert len(ends) == READERS
        for _, _, writer in streams:
            writer.close()
        async with asyncio.timeout(60):
            while (await http.get("/health")).json()["running"]:  # noqa: ASYNC110 - by HTTP
                await asyncio.sleep(0.05)


async def test_beyond_the_limit_of_files_callers_are_told(tmp_path, hive):
    """A queen that may open few files refuses readers with a reason, and goes on working."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    queen = QueenProcess(tmp_path, files=400)
    await queen.start()
    worker = FakeWorker("w1", slots=8)
    worker.gate = asyncio.Event()
    await hive.add(worker)
    async with httpx.AsyncClient(base_url=queen.url, timeout=60) as http:
        await http.post("/v2/nodes/register", json=hive.registration().dump())
        body = {"model": "demo", "prompt": "x", "max_tokens": 5, "detach": True}
        job_id = (await http.post("/v2/tasks", json=body)).json()["job_id"]
        at_once = asyncio.Semaphore(20)
        streams = await asyncio.gather(
            *(open_stream(queen.port, job_id, at_once) for _ in range(130))
        )
        statuses = [status for status, _, _ in streams]
        assert set(statuses) == {200, 429}
        worker.gate.set()
        for status, reader, writer in streams:
            if status == 200:
                await reader.readuntil(b"event: end")
            writer.close()
        async with asyncio.timeout(30):
            while (info := (await http.get(f"/v2/tasks/{job_id}")).json()).get("state") != "done":
                assert info.get("error", {}).get("code") in (None, "ADMISSION_REJECT"), info
                await asyncio.sleep(0.05)
        assert (await http.post("/v2/tasks", json=body)).status_code == 202
    await queen.end()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
