"""Work that the queen's task group owns: what becomes of it when the group ends first."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from rbee_agent.queen.guard import begin, begin_into


class _Over(Exception):
    """Ends a group."""


async def _work() -> int:
    raise AssertionError("it must not begin")


async def _group_that_ends(start) -> None:
    async with asyncio.TaskGroup() as group:
        start(group)
        raise _Over


async def _unbegun(start) -> list[warnings.WarningMessage]:
    """What is warned of when a group ends in the moment in which `start` gave it work."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ExceptionGroup):
            await _group_that_ends(start)
        gc.collect(1)
    return said


async def test_work_of_a_group_that_ends_is_closed_unbegun():
    """A queen that stops as she begins a spawn leaves no coroutine behind."""
    assert await _unbegun(lambda group: begin(group, _work(), "spawn")) == []


async def test_who_waits_for_work_that_never_began_is_let_go():
    """A request that waits for it does not wait for ever."""
    future = asyncio.get_running_loop().create_future()
    assert await _unbegun(lambda group: begin_into(group, _work(), future)) == []
    assert future.cancelled()
