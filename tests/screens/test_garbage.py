"""When garbage is looked for: not while somebody types, and not never."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rbee_tui.garbage import EVERY_S, LATEST_S, QUIET_S, Garbage


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def garbage(clock: Clock) -> Iterator[Garbage]:
    """One that has taken over."""
    taken = Garbage(clock)
    taken.take_over()
    yield taken
    taken.give_back()


def test_nothing_is_looked_for_while_somebody_types(clock: Clock, garbage: Garbage) -> None:
    """It is time, but a key came just now; when it is quiet again, it is made up for."""
    clock.now += EVERY_S
    garbage.typed()
    assert not garbage.tick()

    clock.now += QUIET_S
    assert garbage.tick()
    assert not garbage.tick()


def test_who_never_stops_typing_does_not_keep_garbage_for_ever(
    clock: Clock, garbage: Garbage
) -> None:
    """At the latest after a while it is looked for all the same."""
    looked = 0
    for _ in range(int(2.5 * LATEST_S)):
        clock.now += 1.0
        garbage.typed()
        looked += garbage.tick()

    assert looked == 2


class Loop:
    """Something that only a look can free."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Loop.alive += 1

    def __del__(self) -> None:
        Loop.alive -= 1


def test_cycles_are_freed(clock: Clock, garbage: Garbage) -> None:
    """What a closed dialog leaves behind goes with the next look."""
    for _ in range(3):
        Loop()
        assert Loop.alive == 1
        clock.now += EVERY_S
        assert garbage.tick()
        assert Loop.alive == 0


def test_it_is_given_back(clock: Clock) -> None:
    """After the control center is left, Python does as it did before."""
    garbage = Garbage(clock)
    garbage.take_over()
    assert not gc.isenabled()
    garbage.give_back()

    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
