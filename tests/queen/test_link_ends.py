"""Links to hives end when the queen does, and are patient with a hive that is gone."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from rbee_agent.queen import links
from rbee_agent.settings.places import Places
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from tests.waiting import eventually


async def test_a_stop_that_comes_as_a_link_breaks_is_not_lost(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rbee down` ends hive and queen in one breath, and the queen does end."""

    async def breaks_as_it_is_cancelled(*_: object) -> None:
        own = asyncio.current_task()
        assert own is not None
        own.cancel()
        raise aiohttp.ClientError("the hive is gone")

    async with InProcessQueen(places) as queen, FakeHive() as hive:
        monkeypatch.setattr(queen.queen.links, "_read", breaks_as_it_is_cancelled)
        await queen.queen.links.register(hive.registration())
        (link,) = queen.queen.links._running.values()
        await asyncio.wait({link}, timeout=30)

        assert link.cancelled()


async def test_a_hive_that_is_gone_is_asked_less_and_less(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waits between the tries grow: a try alone is no sign of life."""
    monkeypatch.setattr(links, "BACKOFF_FIRST_S", 0.001)
    tries = []
    async with InProcessQueen(places) as queen:
        async with FakeHive() as hive:
            registration = hive.registration()
        alive = queen.queen.links._alive

        async def asked(*args: object) -> bool:
            tries.append(1)
            return await alive(*args)

        monkeypatch.setattr(queen.queen.links, "_alive", asked)
        await queen.queen.links.register(registration)
        await eventually(lambda: len(tries) >= 5)
        await asyncio.sleep(1)

    # 1, 2, 4 … milliseconds: without growth it would be hundreds by now.
    assert len(tries) < 20
