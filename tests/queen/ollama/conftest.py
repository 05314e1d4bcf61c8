"""The official client of Ollama's API, pointed at a queen with one scripted worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from ollama import AsyncClient

from rbee_agent.testing.worker import FakeWorker


@pytest.fixture
async def worker(caller, hive) -> FakeWorker:
    """A worker of the model `demo` that the queen knows."""
    made = FakeWorker("w1")
    await hive.add(made)
    await caller.register(hive)
    return made


@pytest.fixture
async def client(caller, worker) -> AsyncIterator[AsyncClient]:
    """The official client."""
    made = AsyncClient(host=str(caller.http.base_url))
    yield made
    await made._client.aclose()
