"""What one step computes: a chunk of a prompt, known tokens again, one token of each stream.

Strict jobs share calls only as far as the exact profile has proved that sharing changes no bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rbee_agent.engine.cache import KvCache
from rbee_agent.engine.context import Context
from rbee_agent.engine.job import Job
from rbee_agent.engine.sampling import Candidates
from rbee_agent.engine.turns import calls

REPLAY_CALLS = 16
"""Calls of one known token each that a resumed strict job makes in a step: a chunk's time."""


class Proved(Protocol):
    """What strict jobs may rely on to be bit-equal."""

    @property
    def shortcuts(self) -> frozenset[str]:
        """Cache shortcuts."""

    @property
    def width(self) -> int:
        """Decodes of up to so many rows are bit-equal to decoding alone."""

    @property
    def run(self) -> int:
        """Known tokens of one sequence may be fed so many at a time, or any power of two less."""

    @property
    def silent(self) -> bool:
        """Feeding a token without asking for its logits leaves the same cells."""


class Steps:
    """The calls of llama.cpp, for jobs that hold a slot. Engine thread only."""

    def __init__(self, context: Context, cache: KvCache, proved: Proved, *, chunk: int) -> None:
        """Compute in `context`, prefill in parts of `chunk` tokens."""
        self.inside_s = 0.0
        """Seconds spent inside llama.cpp."""
        self.made = 0
        """Tokens chosen."""
        self._context = context
        self._cache = cache
        self._proved = proved
        self._chunk = chunk
        self._candidates = Candidates(context.model.n_vocab)

    def prefill(self, job: Job) -> None:
        """Read the next chunk of a prompt; behind the last one the first token is chosen."""
        slot = job.slot
        assert slot is not None  # noqa: S101 - active jobs have their slot
        if len(slot.tokens) == job.cached:
            # Another may have read the same beginning since this one got its slot.
            job.cached = self._cache.look_again(
                slot, job.prompt, proved=self._proved.shortcuts, strict=job.strict, cold=job.cold
            )
        begin = len(slot.tokens)
        part = job.prompt[begin : begin + self._chunk]
        last = begin + len(part) == len(job.prompt)
        self._timed(lambda: self._context.decode_run(slot.seq, part, begin, logits=last))
        slot.fed(part, chunk=self._chunk)
        job.sink.progress("prefill", begin + len(part), len(job.prompt))
        if last and job.prompt_read():
            self._advance(job, -1)

    def replay(self, job: Job) -> None:
        """Feed tokens that the caller has, so that the cells are what they were; a step's worth."""
        slot = job.slot
        assert slot is not None  # noqa: S101 - active jobs have their slot
        fed = 0
        for _ in range(REPLAY_CALLS):
            known = job.known
            if not known or fed >= self._chunk or job.finish is not None or job.cancelled:
                return
            size = self._proved.run
            while size > len(known):
                size //= 2
            self._feed_known(job, known[:size])
            slot.fed(known[:size])
            fed += size
            job.replay(size)

    def _feed_known(self, job: Job, part: Sequence[int]) -> None:
        slot = job.slot
        assert slot is not None  # noqa: S101 - active jobs have their slot
        seq, begin, context = slot.seq, len(slot.tokens), self._context
        if len(part) == 1:
            wanted = not self._proved.silent
            self._timed(lambda: context.decode_alone(seq, part[0], begin, logits=wanted))
        else:
            self._timed(lambda: context.decode_run(seq, part, begin, logits=False))

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Who decodes together: one call each."""
        by_seq = {job.slot.seq: job for job in jobs if job.slot is not None}
        strict = {seq for seq, job in by_seq.items() if job.strict}
        return [[by_seq[seq] for seq in call] for call in calls(by_seq, strict, self._proved.width)]

    def decode(self, jobs: Sequence[Job]) -> None:
        """One more token for each of `jobs`, in one call."""
        rows = [(job.slot.seq, job.next_token, len(job.slot.tokens)) for job in jobs if job.slot]
        if len(jobs) == 1 and jobs[0].strict:
            self._timed(lambda: self._context.decode_alone(*rows[0]))
        else:
            self._timed(lambda: self._context.decode_rows(rows))
        for index, job in enumerate(jobs):
            if job.slot:
                job.slot.fed([job.next_token])
            self._advance(job, index)

    def _advance(self, job: Job, row: int) -> None:
        if job.advance(self._context.logits(row), self._candidates):
            self.made += 1

    def _timed(self, call: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            call()
        finally:
            self.inside_s += time.monotonic() - began
