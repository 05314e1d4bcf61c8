"""The proof itself is proved: against arithmetic that is known to be inexact somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbee_agent.engine.cache import COPY, RESTORE, REUSE, KvCache
from rbee_agent.engine.proof import SILENT, ProofBook
from rbee_agent.errors import RbeeError

CHUNK, CONTEXT, SEQUENCES = 16, 700, 4
EVERYTHING = sorted(
    [SILENT, REUSE, COPY, RESTORE, "run:2", "run:4", "run:8", "run:16", "batch:2", "batch:3",
     "batch:4"]
)  # fmt: skip


@dataclass
class Vocabulary:
    n_vocab: int = 100
    end_tokens: frozenset[int] = frozenset({0})


@dataclass
class Arithmetic:
    """A context whose logits are a digest of the cells, off by a bit where `wrong` says so."""

    wrong: set[str] = field(default_factory=set)
    sequences: int = SEQUENCES
    context: int = CONTEXT
    model: Vocabulary = field(default_factory=Vocabulary)
    cells: dict[int, list[int]] = field(default_factory=dict)
    rows: list[float] = field(default_factory=list)
    calls: int = 0

    def clear(self) -> None:
        self.cells = {}

    def keep(self, seq: int, length: int) -> bool:
        self.cells[seq] = self.cells.get(seq, [])[:length]
        return "forget" not in self.wrong or length == 0

    def copy(self, source: int, target: int) -> None:
        self.cells[target] = [x + ("copy" in self.wrong) for x in self.cells[source]]

    def save(self, seq: int) -> list[int]:
        return list(self.cells[seq])

    def restore(self, seq: int, state: list[int]) -> bool:
        self.cells[seq] = list(state)
        if "restore" in self.wrong:
            self.cells[seq][0] += 1
        return True

    def decode_run(self, seq: int, tokens: Sequence[int], start: int, *, logits: bool) -> None:
        held = self.cells.setdefault(seq, [])
        assert len(held) == start
        odd = f"run:{len(tokens)}" in self.wrong and not logits
        held.extend(token + odd for token in tokens)
        self._row(seq, 0)

    def decode_alone(self, seq: int, token: int, start: int, *, logits: bool = True) -> None:
        held = self.cells.setdefault(seq, [])
        assert len(held) == start
        held.append(token + ("silent" in self.wrong and not logits))
        self._row(seq, 0)

    def decode_rows(self, rows: Sequence[tuple[int, int, int]]) -> None:
        for seq, token, position in rows:
            assert len(self.cells[seq]) == position
            self.cells[seq].append(token)
        self.rows = []
        for index, (seq, _, position) in enumerate(rows):
            off = f"batch:{len(rows)}" in self.wrong
            off |= "long" in self.wrong and position >= 512
            off |= "last row" in self.wrong and index == len(rows) - 1 == 2
            late = position - 512 if "late" in self.wrong else 0
            self._row(seq, off or late > 130, add=True)

    def _row(self, seq: int, off: bool | int, *, add: bool = False) -> None:
        self.calls += 1
        value = float(hash(tuple(self.cells[seq])) % 2**20 + (1 if off else 0))
        self.rows = [*self.rows, value] if add else [value]

    def logits(self, row: int) -> Any:
        return np.array([self.rows[row]], dtype=np.float32)


def book(arithmetic: Any, folder: Path | None = None, name: str = "p") -> ProofBook:
    cache = KvCache(arithmetic, chunk=CHUNK, host_bytes=0)
    return ProofBook(name, context=arithmetic, cache=cache, chunk=CHUNK, folder=folder)


def proved(arithmetic: Arithmetic) -> ProofBook:
    """All that can be tried, tried."""
    made = book(arithmetic)
    while made.work(lambda: False):
        pass
    assert made.complete
    return made


def test_exact_arithmetic_proves_everything() -> None:
    """Every shortcut counts, and the widest of each kind is used."""
    made = proved(Arithmetic())

    assert made.proved == EVERYTHING
    assert (made.width, made.run, made.silent) == (SEQUENCES, CHUNK, True)
    assert made.shortcuts == {REUSE, COPY, RESTORE}


@pytest.mark.parametrize(
    ("wrong", "lost"),
    [
        ("copy", {COPY}),
        ("silent", {SILENT}),
        ("run:4", {"run:4", "run:8", "run:16"}),
        ("batch:3", {"batch:3", "batch:4"}),
        ("last row", {"batch:3", "batch:4"}),
        ("long", {"batch:2", "batch:3", "batch:4"}),
        ("late", {"batch:2", "batch:3", "batch:4"}),
    ],
)
def test_a_falsehood_is_found(wrong: str, lost: set[str]) -> None:
    """One wrong bit in one row, beyond so many cells, or after so many steps is enough."""
    assert set(proved(Arithmetic({wrong})).proved) == set(EVERYTHING) - lost


def test_a_width_is_used_only_with_all_below_it() -> None:
    """Rows come and go one at a time."""
    made = proved(Arithmetic({"batch:3"}))

    assert made.width == 2


def test_runs_need_silence() -> None:
    """A run asks for no logits, so it is no better than one token without them."""
    assert proved(Arithmetic({"silent"})).run == 1


def test_what_cannot_forget_a_part_proves_nothing() -> None:
    """A recurrent model's state has no beginning to go back to: no shortcut, no crash."""
    assert proved(Arithmetic({"forget"})).proved == []


def test_a_call_that_fails_is_no_proof() -> None:
    """The probe ends as not proved, and the engine lives on."""

    class Failing(Arithmetic):
        def decode_rows(self, rows: Sequence[tuple[int, int, int]]) -> None:
            raise RbeeError("llama.cpp failed")

    assert {"batch:2"}.isdisjoint(proved(Failing()).proved)


def test_an_interrupted_probe_is_begun_anew() -> None:
    """Somebody wants the engine: nothing is concluded from half a probe."""
    made = book(Arithmetic())
    asked = iter(range(10**9))

    assert made.work(lambda: next(asked) > 20)
    assert made.proved == []
    assert not made.complete


def test_proofs_are_kept_by_profile(tmp_path: Path) -> None:
    """The next start reads them; another profile, or a file of another kind, does not count."""
    made = book(Arithmetic(), tmp_path)
    while made.work(lambda: False):
        pass

    again = book(Arithmetic(), tmp_path)
    assert again.complete
    assert again.proved == made.proved
    assert not book(Arithmetic(), tmp_path, "other").complete
    (kept,) = tmp_path.glob("p-*.json")
    kept.write_text('{"format": 1, "profile": "p", "verdicts": {"batch:2": true}}')
    assert book(Arithmetic(), tmp_path).proved == []


def test_what_few_cells_prove_does_not_count_for_many(tmp_path: Path) -> None:
    """Arithmetic that is off beyond 512 cells looks exact to a small context: its own affair."""
    small = book(Arithmetic({"long"}, context=256), tmp_path)
    while small.work(lambda: False):
        pass
    assert "batch:4" in small.proved

    large = book(Arithmetic({"long"}), tmp_path)
    assert large.proved == []
    while large.work(lambda: False):
        pass
    assert "batch:2" not in large.proved
    assert book(Arithmetic({"long"}, context=256), tmp_path).proved == small.proved


def test_the_plain_way_is_computed_once() -> None:
    """Later shortcuts cost their own calls only: else most of a proof would be repetition."""
    arithmetic = Arithmetic()
    made = book(arithmetic)
    calls: list[int] = [0]
    while made.work(lambda: False):
        calls.append(arithmetic.calls)

    runs = [after - before for before, after in pairwise(calls[4:9])]
    assert runs == [2 * (64 // size + 1) for size in (2, 4, 8, 16)]


def test_small_contexts_prove_what_they_have_room_for() -> None:
    """64 tokens in a slot: short probes, no failure."""
    made = proved(Arithmetic(context=64))

    assert "batch:4" in made.proved
