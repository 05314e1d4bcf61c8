"""A worker behind a long link is given time: what a link loses must be sent again."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest

from rbee_agent.contracts.workers import WorkerHealth
from rbee_agent.errors import Unreachable
from rbee_agent.queen.relay import Broken, Relay
from rbee_agent.queen.task import Task


async def silence_before_it_is_left(distance: float, *, step_s: float = 0.0) -> float:
    """How many seconds a worker may be silent that does not answer, with others at hand."""
    ticks = itertools.count(0.0, 0.2)
    relay = Relay(
        cast("Task", None),
        lambda: next(ticks),
        cast("dict[str, Any]", {}),
        on_first_token=lambda: None,
        elsewhere=lambda: True,
        distance=lambda: distance,
    )
    relay.progress.step_s = step_s

    async def probe() -> WorkerHealth:
        raise Unreachable("lost on the way")

    with pytest.raises(Broken):
        await relay.watch(probe)
    return next(ticks)


async def test_a_silent_worker_near_by_is_left_at_once() -> None:
    """With no distance to speak of, a second of silence and no answer are enough."""
    assert await silence_before_it_is_left(0.0) < 2.0


async def test_a_silent_worker_far_away_is_given_time() -> None:
    """A link of 200 ms may lose a packet, and what is sent for it, without moving a stream."""
    assert await silence_before_it_is_left(0.2) > 3.0


async def test_silence_is_no_sign_of_a_hanging_engine() -> None:
    """An engine of quick steps that a lossy link keeps from being heard is given the same time."""
    assert await silence_before_it_is_left(0.4, step_s=0.01) > 5.0
