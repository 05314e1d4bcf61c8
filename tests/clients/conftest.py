"""One real fleet for all clients: a queen, a hive, a worker of the demo model, and an encoder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.pooled_model import write_pooled_model
from tests.ports import own_port

POOLED = "tiny-pooled"
"""The encoder; it has no worker until somebody asks for it."""


@dataclass(frozen=True)
class Served:
    """Where a client finds the queen, and what it asks for."""

    url: str
    key: str
    model: str
    fleet: LiveFleet


@pytest.fixture(scope="session")
def served(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A queen with one ready worker of the demo model."""
    root = tmp_path_factory.mktemp("clients")
    # One thread: tests share the cores, and llama.cpp's threads wait for each other spinning.
    fleet = LiveFleet(root, worker_port=own_port(18401), RBEE_WORKER_THREADS="1")
    try:
        write_pooled_model(root / f"{POOLED}.gguf")
        fleet.register_model(demo_model)
        fleet.register_model(root / f"{POOLED}.gguf", POOLED)
        fleet.ok("up")
        fleet.ok("worker", "spawn", "cpu", "--model", MODEL, "--slots", "8", "--ctx", "2048")
        key = (fleet.root / ".local/state/rbee/admin.token").read_text().strip()
        yield Served(fleet.record("queen")["url"], key, MODEL, fleet)
    finally:
        fleet.end()


@pytest.fixture(scope="module")
def encoder(served: Served) -> Iterator[str]:
    """The model that embeds; its worker goes again, so that others find one model loaded."""
    yield POOLED
    for worker in served.fleet.document("worker", "ls")["workers"]:
        if worker["model"] == POOLED:
            served.fleet.ok("worker", "stop", worker["id"])


@pytest.fixture
def queen_url(served: Served) -> str:
    """Where the queen listens."""
    return served.url


@pytest.fixture
async def openai(queen_url: str) -> AsyncIterator[AsyncOpenAI]:
    """The official client, as anybody would make it."""
    async with AsyncOpenAI(base_url=f"{queen_url}/v1", api_key="any", max_retries=0) as client:
        yield client
