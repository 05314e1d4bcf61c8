"""The official client of Anthropic's API, pointed at a queen with one scripted worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic

from rbee_agent.testing.worker import FakeWorker


@pytest.fixture
async def worker(caller, hive) -> FakeWorker:
    """A worker of the model `demo` that the queen knows."""
    made = FakeWorker("w1")
    await hive.add(made)
    await caller.register(hive)
    return made


@pytest.fixture
async def client(caller, worker) -> AsyncIterator[AsyncAnthropic]:
    """The official client; it tries nothing twice, so that what is refused is seen."""
    base = str(caller.http.base_url)
    async with AsyncAnthropic(base_url=base, api_key="made-up", max_retries=0) as made:
        yield made
