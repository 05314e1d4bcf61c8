"""The SDK covers the API: each call is a route of the queen, each route has a call, all typed."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rbee_agent.client import QueenClient, Ranked
from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.explain import Explanation
from rbee_agent.contracts.frames import EndFrame, StartedFrame, TokenFrame
from rbee_agent.contracts.hosts import Hop, HostRegistration
from rbee_agent.contracts.keys import NewKey, Role
from rbee_agent.contracts.meta import Capabilities, QueenHealth, QueenVersion
from rbee_agent.contracts.models import Availability, CatalogModel
from rbee_agent.contracts.nodes import NodeRegistration
from rbee_agent.contracts.pools import DeploymentRequest
from rbee_agent.contracts.sessions import SessionInfo
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import NotFound, RbeeError
from rbee_agent.queen.api.app import all_routes
from rbee_agent.settings.places import Places
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen

REQUEST = TaskRequest(model="m", prompt="p", task_id="t-1")
HOST = HostRegistration(
    name="h",
    hop=Hop(address="a", user="u", host_key="ssh-ed25519 AAAA"),
    node_id="n",
    hive_token="t",
)
VALUES: dict[str, Any] = {
    "request": REQUEST,
    "job_id": "a/b",
    "inputs": ["x"],
    "roles": [Role.READ],
    "model": "m",
    "registration": NodeRegistration(node_id="n", url="http://h"),
    "method": "GET",
    "path": "/health",
}
SPECIAL = {
    "spawn": {"request": DeploymentRequest(model="m")},
    "add_host": {"registration": HOST},
    "add_model": {"model": CatalogModel(id="m")},
}
NOT_FOR_PEOPLE = {
    "/v2/nodes/{}/heartbeat": "hives send it",
    "/v2/workers/ready": "workers send it",
    "/v2/pools/{}/health": "pools() tells it, and workers() why",
}


def calls() -> list[str]:
    """The public calls of the client, by name."""
    own = {"at", "close", "url"}
    return [name for name in dir(QueenClient) if not name.startswith("_") and name not in own]


async def asked_for(name: str) -> tuple[str, str]:
    """Method and path of the request that a call makes first."""
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.raw_path.decode().split("?")[0]))
        return httpx.Response(418, json={"error": {"code": "FORBIDDEN", "message": "no"}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = QueenClient("http://queen", http=http)
        method = getattr(client, name)
        given = {
            parameter.name: SPECIAL.get(name, {}).get(
                parameter.name, VALUES.get(parameter.name, "x")
            )
            for parameter in inspect.signature(method).parameters.values()
            if parameter.default is inspect.Parameter.empty
        }
        found = method(**given)
        with pytest.raises(RbeeError):
            await (anext(found) if inspect.isasyncgen(found) else found)
    return seen[0]


def routes() -> dict[tuple[str, str], re.Pattern[str]]:
    """The queen's own routes (not those in the shape of other APIs) as patterns."""
    return {
        (route.method, re.sub(r"\{\w+\}", "{}", route.path)): re.compile(
            re.sub(r"\{\w+\}", "[^/]+", route.path) + "$"
        )
        for route in all_routes()
        if route.path.startswith("/v2/") or route.path == "/health"
    }


@pytest.mark.parametrize("name", calls())
async def test_each_call_asks_a_route_that_there_is(name: str) -> None:
    """Method and path are in the queen's table, and an id with a slash stays one segment."""
    method, path = await asked_for(name)

    assert [key for key, like in routes().items() if key[0] == method and like.match(path)]


async def test_each_route_has_a_call() -> None:
    """Whatever the queen offers to people, the SDK has; what it leaves out is listed with why."""
    asked = [await asked_for(name) for name in calls()]
    left = {
        key
        for key, like in routes().items()
        if not any(key[0] == method and like.match(path) for method, path in asked)
    }

    assert {path for _, path in left} == set(NOT_FOR_PEOPLE)


@pytest.fixture
async def client(places: Places) -> AsyncIterator[QueenClient]:
    """A client of a real queen with one simulated host."""
    async with (
        FakeHive() as hive,
        InProcessQueen(places) as queen,
        QueenClient(queen.url) as made,
    ):
        await made.register_node(hive.registration())
        yield made


async def test_what_a_real_queen_answers_is_typed(client: QueenClient) -> None:
    """The contract's types hold for what a running queen says, from health to explanations."""
    answer = await client.run(
        TaskRequest(model="demo", prompt="hello", max_tokens=4, session_id="s-1"), timeout=30
    )
    key = await client.create_key("test", [Role.READ])
    found: list[Contract] = [
        await client.health(),
        await client.version(),
        await client.capabilities(),
        await client.explain(answer.job_id),
        await client.session("s-1"),
        await client.availability(),
        key,
    ]

    assert [type(one) for one in found] == [
        QueenHealth,
        QueenVersion,
        Capabilities,
        Explanation,
        SessionInfo,
        Availability,
        NewKey,
    ]
    with pytest.raises(NotFound):
        await client.submit(TaskRequest(model="none", prompt="x", task_id="refused-1"))
    assert (await client.explain("refused-1")).task.state == "refused"
    assert (await client.availability()).models["demo"] == ["node-1"]
    fleet = await client.snapshot()
    assert [node.id for node in fleet.nodes] == ["node-1"]
    trial = await client.check_policy("p", "def place(t, w, f):\n    return None\n", fleet.dump())
    assert (trial.hooks, trial.decisions) == (["place"], [])
    assert (await client.policy()).policy is None
    assert key.token not in str(await client.keys())
    assert [task.job_id for task in await client.tasks(session_id="s-1")] == [answer.job_id]
    assert await client.tasks(session_id="s-2") == []
    assert [pool.model for pool in await client.pools()] == ["demo"]
    assert await client.hosts() == []
    with pytest.raises(NotFound):
        await client.drain_pool("no-such-pool")


async def test_frames_come_as_types(client: QueenClient) -> None:
    """`frames` gives the stream's order: started, tokens, one end."""
    request = TaskRequest(model="demo", prompt="hello", max_tokens=3)
    frames = [frame async for frame in client.frames(request, timeout=30)]

    order = [type(frame) for frame in frames if isinstance(frame, StartedFrame | TokenFrame)]
    assert order == [StartedFrame, TokenFrame, TokenFrame, TokenFrame]
    assert isinstance(frames[-1], EndFrame)


async def test_vectors_and_ranks(client: QueenClient) -> None:
    """`embed` gives a vector for each input in order; `rerank` the inputs, the best first."""
    vectors = await client.embed("demo", ["a", "bb"], timeout=30)
    ranked = await client.rerank("demo", "q", ["a", "ccc", "bb"], timeout=30)

    assert vectors == [[1.0], [2.0]]
    assert ranked == [Ranked(1, 3.0), Ranked(2, 2.0), Ranked(0, 1.0)]


async def test_the_feed_as_types(client: QueenClient) -> None:
    """`changes` begins with the snapshot of the fleet."""
    async for event in client.changes():
        assert type(event).__name__ == "FleetSnapshot"
        break


@pytest.mark.parametrize("body", [b"<html>router</html>", b"[]", b'{"data":[]}'])
async def test_a_stranger_is_told_from_a_queen(body: bytes) -> None:
    """Another program's answer is an error that says so, never an empty fleet."""
    stranger = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    async with httpx.AsyncClient(transport=stranger) as http:
        client = QueenClient("http://router", http=http)
        for call in (client.workers, client.health, client.nodes):
            with pytest.raises(RbeeError, match=r"another program|no queen"):
                await call()
