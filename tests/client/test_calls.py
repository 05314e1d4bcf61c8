"""Single calls of the SDK: retries, errors, keys, versions."""

from __future__ import annotations

import asyncio
import socket

import pytest

import rbee_agent.client as sdk
from rbee_agent.client import QueenClient
from rbee_agent.contracts.routes import PROTOCOL_HEADER
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import NotFound, RbeeError, Unavailable, Unreachable
from rbee_agent.testing.scripted_queen import ScriptedQueen

REQUEST = TaskRequest(model="m", prompt="p", task_id="t-1")


def busy(wait_ms: int) -> RbeeError:
    return Unavailable("the queue is full", code="ADMISSION_REJECT", retry_after_ms=wait_ms)


async def test_retry_after_is_waited_for(scripted: ScriptedQueen, client: QueenClient) -> None:
    """A 429 is tried again, not before the time that the queen named."""
    scripted.refusals.extend([busy(150), busy(150)])
    loop = asyncio.get_running_loop()
    began = loop.time()

    accepted = await client.submit(REQUEST)

    assert accepted.job_id == "t-1"
    assert loop.time() - began >= 0.3


async def test_tries_are_bounded(scripted: ScriptedQueen, client: QueenClient) -> None:
    """After two retries the queen's refusal is the caller's."""
    scripted.refusals.extend([busy(1)] * 3)

    with pytest.raises(Unavailable, match="the queue is full"):
        await client.submit(REQUEST)
    assert not scripted.refusals


async def test_no_retry_past_the_deadline(scripted: ScriptedQueen, client: QueenClient) -> None:
    """A Retry-After that lies behind the deadline is not waited for."""
    scripted.refusals.append(busy(60_000))

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await client.submit(REQUEST, timeout=1.0)


async def test_a_refusal_for_good_is_not_tried_again(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """An error that trying again cannot mend is raised at once."""
    scripted.refusals.extend([RbeeError("no", code="FORBIDDEN")] * 2)

    with pytest.raises(RbeeError):
        await client.submit(REQUEST)
    assert len(scripted.refusals) == 1


async def test_not_found_is_its_class(client: QueenClient) -> None:
    """The queen's 404 is NotFound here, with her words."""
    with pytest.raises(NotFound, match="no task t-9") as caught:
        await client.task("t-9")
    assert caught.value.exit_code == 3


async def test_nobody_there_names_the_url_and_the_command() -> None:
    """Unreachable says where it looked and what to type."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with QueenClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}.*rbee up"):
            await client.health()


async def test_submit_without_id_gets_one(scripted: ScriptedQueen, client: QueenClient) -> None:
    """The client makes the POST idempotent by itself."""
    accepted = await client.submit(TaskRequest(model="m", prompt="p"))

    assert accepted.job_id in scripted.tasks
    assert accepted.job_id.startswith("task-")


async def test_a_lost_answer_to_the_post_is_harmless(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """A connection that dies between the POST and its answer leaves one task, not two."""
    scripted.lost_posts = 2

    accepted = await client.submit(TaskRequest(model="m", prompt="p"))

    assert list(scripted.tasks) == [accepted.job_id]


async def test_only_set_fields_are_sent(scripted: ScriptedQueen, client: QueenClient) -> None:
    """An older queen never sees fields that the caller did not set."""
    await client.submit(REQUEST)

    assert scripted.tasks["t-1"] == {"model": "m", "prompt": "p", "task_id": "t-1"}


async def test_the_key_and_the_version_are_sent(scripted: ScriptedQueen) -> None:
    """Every call carries the key and the protocol's version."""
    scripted.token = "secret"
    async with QueenClient(scripted.url, "secret") as client:
        await client.nodes()
    async with QueenClient(scripted.url, "wrong") as client:
        with pytest.raises(RbeeError) as caught:
            await client.nodes()

    assert caught.value.exit_code == 4
    assert scripted.headers[0][PROTOCOL_HEADER] == "1"


def test_every_public_name_exists_and_is_listed_in_order() -> None:
    """`__all__` is complete, sorted, and each name can be imported."""
    assert sorted(sdk.__all__) == sdk.__all__
    assert set(sdk.__all__) == set(sdk._HOMES)
    for name in sdk.__all__:
        assert getattr(sdk, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sdk.nonsense
