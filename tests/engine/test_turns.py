"""Whose turn it is, who shares a call, and who moves: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.engine.turns import PATIENCE, calls, closing_move, next_reader

ids = st.sets(st.integers(0, 15), max_size=12)


@dataclass
class Reader:
    unread: int
    passed_over: int = 0


def test_the_reader_that_is_soonest_done_goes_first() -> None:
    """A short question does not wait behind a long document."""
    short = Reader(10)

    assert next_reader([Reader(2000), short, Reader(50)]) is short
    assert next_reader([]) is None


def test_a_long_prompt_is_not_passed_over_for_ever() -> None:
    """After so many turns of others it is the long one's."""
    long = Reader(2000, passed_over=PATIENCE)

    assert next_reader([Reader(1), long]) is long


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
