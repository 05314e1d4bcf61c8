"""Whose turn it is, who shares a call, and who moves: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.engine.turns import PATIENCE, ROOM, calls, closing_move, readers_of_step

ids = st.sets(st.integers(0, 15), max_size=12)


@dataclass
class Reader:
    unread: int
    passed_over: int = 0
    replaying: bool = False


def test_the_reader_that_is_soonest_done_goes_first() -> None:
    """A short question does not wait behind a long document."""
    short = Reader(10)

    assert readers_of_step([Reader(2000), short, Reader(90)], 64)[0] is short
    assert readers_of_step([], 64) == []


def test_a_long_prompt_is_not_passed_over_for_ever() -> None:
    """After so many turns of others it is the long one's."""
    long = Reader(2000, passed_over=PATIENCE)

    assert readers_of_step([Reader(64), long], 64) == [long]


def test_ends_of_short_prompts_are_read_in_one_step() -> None:
    """Newcomers do not pay a decode of few rows for each of them."""
    short = [Reader(40), Reader(41), Reader(42)]

    assert readers_of_step(short, 64) == short[:2]
    assert readers_of_step([Reader(5, replaying=True), Reader(64)], 64) == [Reader(5, 0, True)]


@given(st.lists(st.builds(Reader, st.integers(1, 300), st.integers(0, 20), st.booleans())))
def test_a_step_reads_something_and_never_much(readers: list[Reader]) -> None:
    """The others wait for no more than a chunk and a half."""
    chosen = readers_of_step(readers, 64)

    assert bool(chosen) == bool(readers)
    assert sum(64 if one.replaying else min(64, one.unread) for one in chosen) <= ROOM * 64
    late = [one for one in readers if one.passed_over >= PATIENCE]
    assert not late or chosen[0] in late


def test_best_effort_streams_share_one_call() -> None:
    """Where nobody is strict there is nothing to prove."""
    assert calls({3, 0, 9}, set(), 1) == [[0, 3, 9]]


def test_unproved_strict_streams_decode_alone() -> None:
    """Width 1: one call for each, and one for all the others."""
    assert calls({0, 1, 2, 3}, {1, 3}, 1) == [[0, 2], [1], [3]]


def test_a_proved_width_is_used_in_groups() -> None:
    """Three rows are proved, eight want to decode: groups of three, not eight calls."""
    assert calls(range(8), set(range(8)), 3) == [[0, 1, 2], [3, 4, 5], [6, 7]]


@given(active=ids, strict=ids, width=st.integers(1, 16))
def test_everybody_decodes_once_and_strict_ones_only_as_proved(
    active: set[int], strict: set[int], width: int
) -> None:
    """A call with a strict row has at most `width` rows, all neighbours."""
    made = calls(active, strict & active, width)

    assert sorted(seq for call in made for seq in call) == sorted(active)
    for call in made:
        assert call == sorted(call)
        if strict & set(call):
            assert len(call) <= width
            assert call[-1] - call[0] == len(call) - 1


@given(active=ids, free=ids)
def test_moves_end_with_neighbours(active: set[int], free: set[int]) -> None:
    """Each move takes a running one to a free id; after a few there is none left to make."""
    free -= active
    for _ in range(20):
        move = closing_move(sorted(active), sorted(free))
        if move is None:
            break
        source, target = move
        assert source in active
        assert target in free
        active = active - {source} | {target}
        free = free - {target} | {source}
    assert closing_move(sorted(active), sorted(free)) is None
