"""Which cells a prompt may begin from: as much as possible, and for strict only what is proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.engine.cache import COPY, RESTORE, REUSE, KvCache, Slot, common_prefix

CHUNK = 4
ALL = frozenset({REUSE, COPY, RESTORE})


@dataclass
class Cells:
    """A context without llama.cpp: cells are the tokens that were put into them."""

    sequences: int = 3
    context: int = 64
    cells: dict[int, list[int]] = field(default_factory=dict)
    copies: int = 0

    def keep(self, seq: int, length: int) -> bool:
        self.cells[seq] = self.cells.get(seq, [])[:length]
        return True

    def copy(self, source: int, target: int) -> None:
        self.copies += 1
        self.cells[target] = list(self.cells.get(source, []))

    def save(self, seq: int) -> bytes:
        return bytes(self.cells.get(seq, []))

    def restore(self, seq: int, state: bytes) -> bool:
        self.cells[seq] = list(state)
        return True


class Bench:
    """A cache and what a scheduler does with it."""

    def __init__(self, *, host_bytes: int = 1000, sequences: int = 3) -> None:
        self.context = Cells(sequences=sequences)
        made: Any = self.context
        self.cache = KvCache(made, chunk=CHUNK, host_bytes=host_bytes)

    def begin(self, prompt: list[int], **how: Any) -> tuple[Slot, int]:
        """Assign a slot and read the rest of the prompt in chunks."""
        said = {"proved": ALL, "strict": False, **how}
        slot, kept = self.cache.assign(prompt, **said)
        assert self.context.cells.get(slot.seq, [])[:kept] == prompt[:kept], "foreign cells"
        assert len(self.context.cells.get(slot.seq, [])) == kept, "cells left behind"
        self.read(slot, prompt)
        return slot, kept

    def read(self, slot: Slot, prompt: list[int]) -> None:
        """Prefill what is not there yet."""
        for start in range(len(slot.tokens), len(prompt), CHUNK):
            part = prompt[start : start + CHUNK]
            self.context.cells.setdefault(slot.seq, []).extend(part)
            slot.fed(part, chunk=CHUNK)

    def run(self, prompt: list[int], **how: Any) -> int:
        """A whole job; how much of it was there."""
        slot, kept = self.begin(prompt, **how)
        self.cache.release(slot)
        return kept


def test_the_same_prompt_again_computes_one_token() -> None:
    """Somebody wants the logits of the last, so it is read again."""
    bench = Bench()
    prompt = list(range(10))

    assert [bench.run(prompt), bench.run(prompt)] == [0, 9]


def test_strict_begins_at_a_chunk() -> None:
    """Only whole chunks from the beginning are what a fresh run computes."""
    bench = Bench()
    prompt = list(range(11))
    bench.run(prompt)

    assert bench.run(prompt, strict=True) == 8


def test_cold_begins_from_nothing() -> None:
    """`kv_hint: cold` skips every cache."""
    bench = Bench()
    bench.run(list(range(10)))

    assert bench.run(list(range(10)), cold=True) == 0


def test_strict_uses_nothing_that_is_not_proved() -> None:
    """No proof, no shortcut."""
    bench = Bench()
    prompt = list(range(12))
    bench.run(prompt)

    assert bench.run(prompt, strict=True, proved=frozenset()) == 0


def test_a_strict_prompt_does_not_take_the_way_round_by_an_unproved_copy() -> None:
    """A long conversation in a free slot is cut rather than copied, where only reuse is proved."""
    bench = Bench()
    bench.run(list(range(40)))

    kept = bench.run([*range(8), 99, 98], strict=True, proved=frozenset({REUSE}))

    assert kept == 8
    assert bench.context.copies == 0


def test_a_busy_slot_is_copied_for_a_real_gain() -> None:
    """Two requests with one beginning: the second copies what the first has read."""
    bench = Bench()
    prompt = list(range(16))
    bench.begin(prompt)

    _, kept = bench.begin([*prompt, 77])

    assert kept == 16
    assert bench.context.copies == 1


def test_those_that_came_together_read_their_beginning_once() -> None:
    """What the first has read since is there for the second when its turn comes."""
    bench = Bench()
    prompt = [*range(16), 50]
    first, _ = bench.cache.assign(prompt, proved=ALL, strict=True)
    second, kept = bench.cache.assign(prompt, proved=ALL, strict=True)
    bench.read(first, prompt)

    again = bench.cache.look_again(second, prompt, proved=ALL, strict=True)

    assert (kept, again) == (0, 16)
    assert bench.context.cells[second.seq] == prompt[:16]
    assert second.exact == 16


@pytest.mark.parametrize("how", [{"cold": True}, {"strict": True, "proved": frozenset({REUSE})}])
def test_looking_again_keeps_the_same_rules(how: dict[str, Any]) -> None:
    """Cold stays cold, and strict copies only by proof."""
    bench = Bench()
    prompt = list(range(17))
    said = {"proved": ALL, "strict": False, **how}
    first, _ = bench.cache.assign(prompt, **said)
    second, _ = bench.cache.assign(prompt, **said)
    bench.read(first, prompt)

    assert bench.cache.look_again(second, prompt, **said) == 0


def test_an_evicted_prefix_comes_back_from_host_memory() -> None:
    """One slot, two conversations in turn: each finds its own again."""
    bench = Bench(sequences=1)
    one, two = list(range(20)), list(range(100, 120))
    bench.run(one)
    bench.run(two)

    assert bench.run([*one, 7]) == 20
    assert bench.run([*two, 7]) == 20


def test_host_memory_is_bounded_and_the_oldest_goes_first() -> None:
    """Room for two states: the third pushes the first out."""
    bench = Bench(sequences=1, host_bytes=45)
    prompts = [list(range(n, n + 20)) for n in (0, 30, 60, 90)]
    for prompt in prompts:
        bench.run(prompt)

    assert bench.cache._host._size <= 45
    assert bench.run([*prompts[0], 7]) == 0
    assert bench.run([*prompts[2], 7]) == 20


def test_cells_of_decoded_tokens_are_never_exact() -> None:
    """An answer's cells were computed one by one: strict does not begin behind them."""
    bench = Bench()
    slot, _ = bench.begin(list(range(6)))
    for token in range(6, 20):
        bench.context.cells[slot.seq].append(token)
        slot.fed([token])
    bench.cache.release(slot)

    assert bench.run([*range(20), 99], strict=True) == 4


def test_unproved_copies_do_not_pass_as_exact() -> None:
    """A best-effort job copies freely; what it leaves behind serves no strict one."""
    bench = Bench(sequences=2)
    prompt = list(range(16))
    bench.begin(prompt)
    slot, _ = bench.begin([*prompt, 5], proved=frozenset({REUSE}))
    bench.cache.release(slot)

    assert bench.run([*prompt, 6], strict=True, proved=frozenset({REUSE})) == 0


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.booleans(),
                  st.booleans()),
        max_size=25,
    ),
    st.frozensets(st.sampled_from([REUSE, COPY, RESTORE])),
)  # fmt: skip
def test_cells_are_always_those_of_the_prompt(
    jobs: list[tuple[list[int], bool, bool]], proved: frozenset[str]
) -> None:
    """Whatever came before, a slot holds exactly the prompt's beginning, and all are given back."""
    bench = Bench(host_bytes=120)
    held: list[Slot] = []
    for prompt, strict, linger in jobs:
        if not bench.cache.free:
            bench.cache.release(held.pop(0))
        slot, kept = bench.begin(prompt, strict=strict, proved=proved)
        assert kept < len(prompt)
        assert not strict or kept % CHUNK == 0
        if linger:
            held.append(slot)
        else:
            bench.cache.release(slot)
    for slot in held:
        bench.cache.release(slot)

    assert not any(slot.busy for slot in bench.cache.slots)
    assert all(slot.tokens == bench.context.cells.get(slot.seq, []) for slot in bench.cache.slots)


@given(st.lists(st.integers(0, 1), max_size=20), st.lists(st.integers(0, 1), max_size=20))
def test_common_prefix(one: list[int], other: list[int]) -> None:
    """As long as all are alike, and not one longer."""
    length = common_prefix(one, other)

    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == min(
        len(one), len(other)
    )
