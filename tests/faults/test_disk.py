"""A disk that is really full, below the store and the journals."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import RbeeError
from rbee_agent.testing.worker import FakeWorker, answer
from tests.faults.processes import QueenProcess, small_disk
from tests.faults.streams import Seen, read

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]


def request(prompt: str, tokens: int) -> TaskRequest:
    return TaskRequest(model="demo", prompt=prompt, max_tokens=tokens, detach=True)


def fill(disk: Path) -> Path:
    """Write until nothing goes any more."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


async def test_a_full_disk_refuses_and_pauses_and_loses_nothing(tmp_path, hive):
    """Full: 503 with a reason, and a running stream waits. Room again: both go on, nothing lost."""
    worker = FakeWorker("w1", token_s=0.01)
    await hive.add(worker)
    with small_disk(tmp_path / "disk", "4m") as disk:
        queen = QueenProcess(disk)
        await queen.start()
        try:
            async with QueenClient(queen.url) as client:
                await client.register_node(hive.registration())
                accepted = await client.submit(request("before", 5))
                fillers: list[Path] = []
                seen = Seen()
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(
                        read(
                            client,
                            request("during", 400),
                            at=20,
                            act=lambda: fillers.append(fill(disk)),
                            seen=seen,
                        )
                    )
                    async with asyncio.timeout(30):
                        while not fillers:  # noqa: ASYNC110 - a file appears
                            await asyncio.sleep(0.01)
                        refused = await refusal(client)
                    assert not running.done()
                    fillers[0].unlink()
                after = await client.run(request("after", 5), timeout=60)
                assert (await client.task(accepted.job_id)).state == "done"
        finally:
            await queen.end()
    assert refused.code == "STORE_UNAVAILABLE"
    assert "full" in refused.message
    assert refused.retry_after_ms
    assert seen.text == answer("during", 400)
    assert seen.indices == list(range(400))
    assert after.text == answer("after", 5)


async def refusal(client: QueenClient) -> RbeeError:
    """The first POST that is refused: what is left of the last page of the disk may take some."""
    while True:
        try:
            await client.submit(request("x" * 5000, 1))
        except RbeeError as error:
            return error
