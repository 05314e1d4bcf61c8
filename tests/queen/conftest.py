"""A queen and simulated hosts, over real HTTP, for every test of this room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from rbee_agent.settings.places import Places
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.wire.sse import ServerEvent, SseDecoder


class Caller:
    """An HTTP client of one queen with the few calls that tests repeat."""

    def __init__(self, queen: InProcessQueen) -> None:
        self.queen = queen.queen
        self.queen_app = queen.app
        self.http = httpx.AsyncClient(base_url=queen.url, timeout=20.0)

    async def register(self, hive: FakeHive) -> None:
        """Make the hive known and wait until its workers are."""
        reply = await self.http.post("/v2/nodes/register", json=hive.registration().dump())
        assert reply.status_code == 200, reply.text
        await self.until(
            lambda: (
                hive.node_id in self.queen.registry.nodes
                and self.queen.registry.nodes[hive.node_id].state == "online"
                and set(hive.workers) <= set(self.queen.registry.workers)
            )
        )

    async def submit(self, **body: Any) -> dict[str, Any]:
        """Hand in a task that must be accepted."""
        body = {"model": "demo", "prompt": "hello bees", "max_tokens": 12, **body}
        reply = await self.http.post("/v2/tasks", json=body)
        assert reply.status_code == 202, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    async def events(
        self, job_id: str, after: str | None = None, *, verbose: bool = False
    ) -> list[ServerEvent]:
        """All frames of a task, to its end."""
        headers = {} if after is None else {"Last-Event-ID": after}
        path = f"/v2/tasks/{job_id}/events" + ("?verbose=true" if verbose else "")
        reply = await self.http.get(path, headers=headers)
        assert reply.status_code in (200, 204), reply.text
        return SseDecoder().feed(reply.content)

    async def until(self, truth: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(timeout):
            while not truth():  # noqa: ASYNC110 - the truths are of many kinds
                await asyncio.sleep(0.005)

    async def until_state(self, job_id: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of these states."""
        async with asyncio.timeout(15.0):
            while True:
                info: dict[str, Any] = (await self.http.get(f"/v2/tasks/{job_id}")).json()
                if info["state"] in states:
                    return info
                await asyncio.sleep(0.01)


def text_of(events: list[ServerEvent]) -> str:
    """The text of all token frames."""
    text = ""
    for event in events:
        if event.event == "token":
            data = json.loads(event.data)
            text += "".join(item["t"] for item in data.get("batch", [data]))
    return text


@pytest.fixture
def text() -> Callable[[list[ServerEvent]], str]:
    """The text of all token frames."""
    return text_of


@pytest.fixture
async def hive() -> AsyncIterator[FakeHive]:
    """One host with the model ``demo`` on its disk and no worker."""
    async with FakeHive() as made:
        yield made


@pytest.fixture
async def queen(places: Places) -> AsyncIterator[InProcessQueen]:
    """A queen who knows no host."""
    async with InProcessQueen(places) as made:
        yield made


@pytest.fixture
async def caller(queen: InProcessQueen) -> AsyncIterator[Caller]:
    """A client of that queen."""
    made = Caller(queen)
    yield made
    await made.http.aclose()


@pytest.fixture
def call() -> Callable[[InProcessQueen], Caller]:
    """Makes a client of any queen."""
    return Caller
