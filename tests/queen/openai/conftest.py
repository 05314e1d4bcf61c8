"""The official client of the OpenAI API, pointed at a queen with one scripted worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from rbee_agent.testing.scripts import CALLING, LOGGED, THINKING, Script
from rbee_agent.testing.worker import FakeWorker


@pytest.fixture
def script() -> dict[str, Script]:
    """What a worker can be told to say."""
    return {"thinking": THINKING, "calling": CALLING, "logged": LOGGED}


@pytest.fixture
async def worker(caller, hive) -> FakeWorker:
    """A worker of the model `demo` that the queen knows."""
    made = FakeWorker("w1")
    await hive.add(made)
    await caller.register(hive)
    return made


@pytest.fixture
async def openai(caller, worker) -> AsyncIterator[AsyncOpenAI]:
    """The official client; it tries nothing twice, so that what is refused is seen."""
    async with AsyncOpenAI(
        base_url=f"{caller.http.base_url}/v1", api_key="made-up", max_retries=0
    ) as client:
        yield client
