"""Which shortcuts change no bit, proved on this very model, build, device and settings.

A shortcut counts only when the logits of every row and every step are the same bits as those of the
plain way: chunked prefill from nothing, then one token a call, alone. Results are kept on disk by
profile, since they hold as long as the profile does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from rbee_agent.engine.cache import COPY, RESTORE, REUSE, KvCache
from rbee_agent.engine.llama import Context
from rbee_agent.observe import logs
from rbee_agent.runtime.files import read_json, write_atomic

SILENT = "silent"
"""Feeding known tokens without asking for logits: what a replay does."""
STEPS = 64
"""Decoded tokens that must agree: some models differ only after a few."""
_FORMAT = 1
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
        self._path = None if folder is None else folder / f"{profile_id}.json"
        self._verdicts: dict[str, bool] = self._read()
        self._alone: dict[int, list[bytes]] = {}
        self.shortcuts = frozenset[str]()
        self.silent = False
        self.width = 1
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
        probe = _Probe(self._context, self._chunk, interrupted, self._alone)
        verdict = probe.try_shortcut(names[0])
        self._cache.forget_all()
        if verdict is not None:
            self._verdicts[names[0]] = verdict
            self._conclude()
            self._write()
            logs.get("engine").info("exactness", shortcut=names[0], bit_equal=verdict)
        return True

    def _open(self) -> list[str]:
        widths = [f"batch:{width}" for width in range(2, self._context.sequences + 1)]
        # A width counts only together with all below it: rows come and go one at a time.
        wrong = next(
            (i for i, name in enumerate(widths) if self._verdicts.get(name) is False), None
        )
        names = [SILENT, REUSE, *([COPY] if self._context.sequences > 1 else []), RESTORE]
        names += widths if wrong is None else widths[:wrong]
        return [name for name in names if name not in self._verdicts]

    def _conclude(self) -> None:
        self.shortcuts = frozenset(
            name for name in (REUSE, COPY, RESTORE) if self._verdicts.get(name)
        )
        self.silent = self._verdicts.get(SILENT, False)
        width = 1
        while self._verdicts.get(f"batch:{width + 1}"):
            width += 1
        self.width = width

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


class _Interrupted(Exception):
    """Somebody wants the engine."""


class _Probe:
    """Runs pairs of the plain way and a shortcut, and compares bits."""

    def __init__(
        self,
        context: Context,
        chunk: int,
        interrupted: Callable[[], bool],
        alone: dict[int, list[bytes]],
    ) -> None:
        """Probe in `context`; `alone` keeps what rows compute alone, from one width to the next."""
        self._context = context
        self._known = alone
        self._chunk = chunk
        self._interrupted = interrupted
        self._steps = min(STEPS, context.context // 2)

    def try_shortcut(self, name: str) -> bool | None:
        """Whether it is bit-equal; None when interrupted."""
        try:
            if name.startswith("batch:"):
                return self._batched(int(name.partition(":")[2]))
            return self._silent() if name == SILENT else self._restarted(name)
        except _Interrupted:
            return None

    def _batched(self, width: int) -> bool:
        prompts = [self._prompt(row, self._chunk + 7 * row + 3) for row in range(width)]
        followers = [self._prompt(100 + row, self._steps) for row in range(width)]
        for row in range(width):
            if row not in self._known:
                self._known[row] = list(self._alone(prompts[row], followers[row]))
        # Every prompt takes every row once: an answer must not depend on its neighbours.
        for turn in range(width):
            order = [(row + turn) % width for row in range(width)]
            self._context.clear()
            for seq, row in enumerate(order):
                self._prefill(seq, prompts[row], 0)
            for step in range(self._steps):
                self._check()
                self._context.decode_rows(
                    [
                        (seq, followers[row][step], len(prompts[row]) + step)
                        for seq, row in enumerate(order)
                    ]
                )
                for seq, row in enumerate(order):
                    if self._bits(seq) != self._known[row][step + 1]:
                        return False
        return True

    def _silent(self) -> bool:
        prompt = self._prompt(7, self._chunk + 3)
        follow = self._prompt(8, self._steps)
        *_, plain = self._alone(prompt, follow)
        self._context.clear()
        self._prefill(0, prompt, 0)
        for step, token in enumerate(follow[:-1]):
            self._check()
            self._context.decode_run(0, [token], len(prompt) + step, logits=False)
        self._context.decode_rows([(0, follow[-1], len(prompt) + len(follow) - 1)])
        return self._bits(0) == plain

    def _restarted(self, name: str) -> bool:
        length = min(3 * self._chunk + 17, self._context.context - self._steps)
        prompt = self._prompt(7, length)
        follow = self._prompt(8, min(16, self._steps))
        kept = max(0, (length - 1) // self._chunk * self._chunk - self._chunk)
        if kept == 0:
            return False
        plain = list(self._alone(prompt, follow))
        # Another ending behind the shared prefix, as a conversation that was cut has it.
        self._context.clear()
        self._prefill(0, prompt[:kept] + self._prompt(9, length - kept), 0)
        seq = 0
        if name == COPY:
            seq = self._context.sequences - 1
            self._context.copy(0, seq)
        elif name == RESTORE:
            seq = self._context.sequences - 1
            state = self._context.save(0)
            self._context.clear()
            if not self._context.restore(seq, state):
                return False
        if not self._context.keep(seq, kept):
            return False
        return list(self._continued(seq, prompt, kept, follow)) == plain

    def _alone(self, prompt: list[int], follow: list[int]) -> Iterator[bytes]:
        self._context.clear()
        return self._continued(0, prompt, 0, follow)

    def _continued(
        self, seq: int, prompt: list[int], begin: int, follow: list[int]
    ) -> Iterator[bytes]:
        yield self._prefill(seq, prompt, begin)
        for step, token in enumerate(follow):
            self._check()
            self._context.decode_rows([(seq, token, len(prompt) + step)])
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
