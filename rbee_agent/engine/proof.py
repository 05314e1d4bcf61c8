"""Which shortcuts change no bit, proved on this very model, build, device and settings.

A shortcut counts only when the logits of every row and every step are the same bits as those of the
plain way: chunked prefill from nothing, then one token a call, alone. Short and long sequences are
tried, and both in one call: kernels change with the number of cells. Results are kept on disk by
profile and by how many cells were tried, since they hold as long as these do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rbee_agent.engine.cache import COPY, RESTORE, REUSE, KvCache
from rbee_agent.engine.context import Context
from rbee_agent.errors import RbeeError
from rbee_agent.observe import logs
from rbee_agent.runtime.files import read_json, write_atomic

SILENT = "silent"
"""Feeding known tokens without asking for logits: what a replay does."""
STEPS = 64
"""Decoded tokens that must agree: some models differ only after a few."""
REACH = 600
"""Cells that the longest sequences of a probe hold, where the context has room for them."""
TURN_STEPS = 16
"""The same for rows that have changed their places."""
_SPARE = 2
"""Cells behind the last step: its own token, and the row that a lone one takes along."""
_FORMAT = 2
_PROBE_SEED = 20_251


class ProofBook:
    """What is proved for one profile; proves the rest when the engine has nothing else to do."""

    def __init__(
        self,
        profile_id: str,
        *,
        context: Context,
        cache: KvCache,
        chunk: int,
        folder: Path | None,
    ) -> None:
        """Read what was proved before; nothing is computed yet."""
        self._id = profile_id
        self._context = context
        self._cache = cache
        self._chunk = chunk
        # A small context tries few cells: what it finds is not true of a large one.
        name = f"{profile_id}-{_reach(context)}.json"
        self._path = None if folder is None else folder / name
        self._verdicts: dict[str, bool] = self._read()
        self._plain = _Plain()
        self.shortcuts = frozenset[str]()
        self.silent = False
        self.width = self.run = 1
        self._conclude()

    @property
    def proved(self) -> list[str]:
        """Names of the proved shortcuts, such as ``batch:4``."""
        return sorted(name for name, good in self._verdicts.items() if good)

    @property
    def complete(self) -> bool:
        """Whether everything was tried."""
        return not self._open()

    def work(self, interrupted: Callable[[], bool]) -> bool:
        """Try the next shortcut, giving up (to try again later) when `interrupted` says so.

        Returns:
            False when there is nothing left to try.
        """
        names = self._open()
        if not names:
            return False
        # The probes need the cells; what was cached in them is computed again when asked for.
        self._cache.forget_all()
        probe = _Probe(self._context, self._chunk, interrupted, self._plain)
        verdict = probe.try_shortcut(names[0])
        self._cache.forget_all()
        if verdict is not None:
            self._verdicts[names[0]] = verdict
            self._conclude()
            self._write()
            if self.complete:
                self._plain = _Plain()
            logs.get("engine").info("exactness", shortcut=names[0], bit_equal=verdict)
        return True

    def _open(self) -> list[str]:
        """What is still to be tried. A number counts only together with all below it."""
        names = [SILENT, REUSE, *([COPY] if self._context.sequences > 1 else []), RESTORE]
        for kind, numbers in (
            ("run", _powers(min(self._chunk, _steps(self._context)))),
            ("batch", range(2, self._context.sequences + 1)),
        ):
            for number in numbers:
                names.append(f"{kind}:{number}")
                if self._verdicts.get(names[-1]) is False:
                    break
        return [name for name in names if name not in self._verdicts]

    def _conclude(self) -> None:
        good = {name for name, equal in self._verdicts.items() if equal}
        self.shortcuts = frozenset({REUSE, COPY, RESTORE} & good)
        self.silent = SILENT in good
        self.width = self.run = 1
        while f"batch:{self.width + 1}" in good:
            self.width += 1
        while self.silent and f"run:{2 * self.run}" in good:
            self.run *= 2

    def _read(self) -> dict[str, bool]:
        said = read_json(self._path) if self._path is not None else None
        if said is None or said.get("format") != _FORMAT or said.get("profile") != self._id:
            return {}
        verdicts = said.get("verdicts")
        if not isinstance(verdicts, dict):
            return {}
        return {str(name): good for name, good in verdicts.items() if isinstance(good, bool)}

    def _write(self) -> None:
        if self._path is None:
            return
        said = {"format": _FORMAT, "profile": self._id, "verdicts": self._verdicts}
        try:
            write_atomic(self._path, json.dumps(said, indent=1))
        except OSError as error:
            # Proofs are computed again next time; a full disk must not stop the engine.
            logs.get("engine").warning("proofs not kept", problem=str(error))


def _steps(context: Context) -> int:
    return min(STEPS, context.context // 2)


def _reach(context: Context) -> int:
    return min(REACH, context.context - _steps(context) - _SPARE)


def _powers(limit: int) -> list[int]:
    """2, 4, 8 and so on up to `limit`."""
    return [2**n for n in range(1, limit.bit_length()) if 2**n <= limit]


class _Interrupted(Exception):
    """Somebody wants the engine."""


class _Unable(Exception):
    """This kind of model cannot forget a part, or take a state back."""


@dataclass(slots=True)
class _Plain:
    """What the plain way gives, computed once for all shortcuts that are held against it."""

    state: bytes | None = None
    """The cells of the longest sequence."""
    rows: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    """Logits, by the sequence's length and what follows it."""
    restarted: list[bytes] | None = None


class _Probe:
    """Runs pairs of the plain way and a shortcut, and compares bits."""

    def __init__(
        self,
        context: Context,
        chunk: int,
        interrupted: Callable[[], bool],
        plain: _Plain,
    ) -> None:
        """Probe in `context`; `plain` goes from one probe to the next."""
        self._context = context
        self._plain = plain
        self._chunk = chunk
        self._interrupted = interrupted
        self._steps = _steps(context)
        self._base = self._prompt(7, _reach(context))

    def try_shortcut(self, name: str) -> bool | None:
        """Whether it is bit-equal; None when interrupted."""
        kind, _, number = name.partition(":")
        try:
            if kind == "batch":
                return self._batched(int(number))
            if kind in ("run", SILENT):
                return self._in_runs(int(number or 1))
            return self._restarted(name)
        except _Interrupted:
            return None
        except (_Unable, RbeeError) as error:
            # What cannot be tried is not proved; a probe must not end the engine.
            logs.get("engine").warning("not provable", shortcut=name, problem=str(error))
            return False

    def _batched(self, width: int) -> bool:
        followers = [self._prompt(100 + row, self._steps) for row in range(width)]
        alone = [self._alone(self._length(row), 100 + row, self._steps) for row in range(width)]
        state = self._state()
        # Every sequence takes every row once: an answer must not depend on its neighbours.
        for turn in range(width):
            steps = self._steps if turn == 0 else min(self._steps, TURN_STEPS)
            order = [(row + turn) % width for row in range(width)]
            for seq, row in enumerate(order):
                self._put(state, seq, self._length(row))
            for step in range(steps):
                self._check()
                self._context.decode_rows(
                    [
                        (seq, followers[row][step], self._length(row) + step)
                        for seq, row in enumerate(order)
                    ]
                )
                for seq, row in enumerate(order):
                    if self._bits(seq) != alone[row][step]:
                        return False
        return True

    def _in_runs(self, size: int) -> bool:
        """Known tokens, `size` in a call and no logits, against one by one."""
        follow = self._prompt(8, self._steps + 1)
        known = self._steps // size * size
        for length in (len(self._base), self._length(1)):
            plain = self._alone(length, 8, self._steps + 1)[known]
            self._put(self._state(), 0, length)
            for start in range(0, known, size):
                self._check()
                part = follow[start : start + size]
                if size == 1:
                    self._context.decode_alone(0, part[0], length + start, logits=False)
                else:
                    self._context.decode_run(0, part, length + start, logits=False)
            self._context.decode_alone(0, follow[known], length + known)
            if self._bits(0) != plain:
                return False
        return True

    def _restarted(self, name: str) -> bool:
        """Cut at a chunk, copied or saved with another ending behind it, and gone on from there."""
        prompt, length = self._base, len(self._base)
        follow = self._prompt(9, min(16, self._steps))
        kept = max(0, (length - 1) // self._chunk * self._chunk - self._chunk)
        if kept == 0:
            return False
        self._context.clear()
        held, plain = 0, self._plain.restarted
        if plain is None:
            plain = [self._prefill(0, prompt, 0), *self._continued(0, length, follow)]
            self._plain.restarted = plain
            self._cut(0, kept)
            held = kept
        self._prefill(0, prompt[:kept] + self._prompt(10, length - kept), held)
        seq = 0
        if name == COPY:
            seq = self._context.sequences - 1
            self._context.copy(0, seq)
        elif name == RESTORE:
            seq = self._context.sequences - 1
            state = self._context.save(0)
            self._context.clear()
            self._put(state, seq, kept)
        self._cut(seq, kept)
        again = [self._prefill(seq, prompt, kept), *self._continued(seq, length, follow)]
        return plain == again

    def _state(self) -> bytes:
        """Cells of the longest sequence; every other one is a part of it."""
        if self._plain.state is None:
            self._context.clear()
            self._prefill(0, self._base, 0)
            self._plain.state = self._context.save(0)
        return self._plain.state

    def _alone(self, length: int, key: int, steps: int) -> list[bytes]:
        """Logits of so many known tokens behind `length` cells, one a call."""
        rows = self._plain.rows
        if (length, key) not in rows:
            self._put(self._state(), 0, length)
            rows[length, key] = list(self._continued(0, length, self._prompt(key, steps)))
        return rows[length, key]

    def _length(self, row: int) -> int:
        """Long sequences beside short ones, some of which grow over a step of 256 cells."""
        long = len(self._base)
        kinds = (long - 5 * row, 256 - 3 * row, self._chunk + 3 + 7 * row)
        return max(1, min(long, kinds[row % 3]))

    def _put(self, state: bytes, seq: int, length: int) -> None:
        self._check()
        if not self._context.restore(seq, state):
            raise _Unable
        self._cut(seq, length)

    def _cut(self, seq: int, length: int) -> None:
        if not self._context.keep(seq, length):
            raise _Unable

    def _continued(self, seq: int, start: int, follow: list[int]) -> Iterator[bytes]:
        for step, token in enumerate(follow):
            self._check()
            self._context.decode_alone(seq, token, start + step)
            yield self._bits(0)

    def _prefill(self, seq: int, tokens: list[int], begin: int) -> bytes:
        for start in range(begin, len(tokens), self._chunk):
            self._check()
            part = tokens[start : start + self._chunk]
            self._context.decode_run(seq, part, start, logits=start + len(part) == len(tokens))
        return self._bits(-1)

    def _bits(self, row: int) -> bytes:
        return hashlib.blake2b(self._context.logits(row).tobytes(), digest_size=16).digest()

    def _prompt(self, key: int, length: int) -> list[int]:
        random = np.random.default_rng(_PROBE_SEED + key)
        ids = random.integers(3, self._context.model.n_vocab, size=length)
        ends = self._context.model.end_tokens
        return [int(token) if int(token) not in ends else 3 for token in ids]

    def _check(self) -> None:
        if self._interrupted():
            raise _Interrupted
