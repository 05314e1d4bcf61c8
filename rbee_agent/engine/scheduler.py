"""The engine's thread: who computes what in which call of llama.cpp, and nothing else.

A step is at most one prefill chunk of one job, or the ends of some short ones, and one decode of
everybody who decodes: so a long prompt delays the others by little more than a chunk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from rbee_agent.engine.cache import COPY, KvCache
from rbee_agent.engine.context import Context
from rbee_agent.engine.job import Job
from rbee_agent.engine.steps import Proved, Steps
from rbee_agent.engine.turns import closing_move, readers_of_step
from rbee_agent.errors import RbeeError, Unavailable
from rbee_agent.observe import logs

MAX_QUEUED = 1024
"""Jobs without a slot: more are refused, since whoever sends them has a queue of its own."""
SETTLED_STEPS = 8
"""Decodes with the same jobs before one of them is moved beside the others: a copy is not free."""
IDLE_WORK_AFTER_S = 1.0
_RATE_WINDOW_S = 2.0


class Proofs(Proved, Protocol):
    """What is proved, and the work of proving."""

    def work(self, interrupted: Callable[[], bool]) -> bool:
        """Prove a little while nobody waits; False when there is nothing left to prove."""


class Extra(Protocol):
    """Work of another kind that takes its turn in the loop, such as embeddings."""

    def step(self) -> bool:
        """Do one bounded piece; False when there is none."""

    def cancel(self, job_id: str) -> bool:
        """Forget a job; whether there was one."""

    @property
    def waiting(self) -> int:
        """Jobs in it."""

    def fail_all(self, error: RbeeError) -> None:
        """End every job with `error`."""


class Scheduler:
    """Owns the jobs, the cache and the thread that works on them."""

    def __init__(
        self,
        context: Context,
        cache: KvCache,
        proofs: Proofs,
        extra: Extra,
        *,
        chunk: int,
        profile_id: str,
        on_step: Callable[[], None],
        on_death: Callable[[str], None],
    ) -> None:
        """Put it together; `start` begins to work.

        Args:
            context: where it computes.
            cache: of the context's sequences.
            proofs: what strict jobs may share.
            extra: other work that takes its turn.
            chunk: tokens of a prefill step.
            profile_id: within which strict streams are exact; goes into their bills.
            on_step: called behind each step.
            on_death: called with the reason when a fault of ours ends the thread.
        """
        self.steps = 0
        self.tokens_in = self.tokens_cached = 0
        self.busy_s = 0.0
        self._context = context
        self._compute = Steps(context, cache, proofs, chunk=chunk)
        self._chunk = chunk
        self._cache = cache
        self._proofs = proofs
        self._extra = extra
        self._profile_id = profile_id
        self._on_step = on_step
        self._on_death = on_death
        self._alone: Job | None = None
        """Whose call runs, where nobody else is in it."""
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._by_id: dict[str, Job] = {}
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=16)
        self._wake = threading.Condition()
        self._nudged = False
        self._closing = False
        self._strict_seen = False
        self._decoded: list[Job] = []
        self._settled = 0
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- any thread ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; one of the same id is given up for it.

        Who asks again has lost the first stream: a queen that was killed in the middle of it.

        Raises:
            Unavailable: the engine stops, or too many wait.
        """
        with self._wake:
            if self._closing:
                raise Unavailable("the engine stops", code="POOL_UNREADY")
            if len(self._waiting) >= MAX_QUEUED:
                raise Unavailable(
                    f"{MAX_QUEUED} jobs wait for a slot",
                    code="ADMISSION_REJECT",
                    retry_after_ms=1000,
                )
            before = self._by_id.get(job.id)
            if before is not None:
                before.cancelled = True
            self._by_id[job.id] = job
            self._waiting.append(job)
            self._idle.clear()
            self._nudge()

    def cancel(self, job_id: str) -> bool:
        """Mark a job; it is gone after the running step. False where there is none.

        A call that is for this job alone is given up at once, where llama.cpp can.
        """
        with self._wake:
            job = self._by_id.get(job_id)
            if job is not None:
                job.cancelled = True
                if self._alone is job:
                    self._context.interrupt(True)
                self._nudge()
                return True
        return self._extra.cancel(job_id)

    def poke(self) -> None:
        """There is extra work."""
        with self._wake:
            self._nudge()

    def drain(self, seconds: float) -> bool:
        """Wait until no job is left, at most so long; whether none is."""
        return self._idle.wait(seconds)

    @property
    def tokens_out(self) -> int:
        """Tokens chosen so far."""
        return self._compute.made

    @property
    def inside_s(self) -> float:
        """Seconds spent inside llama.cpp."""
        return self._compute.inside_s

    def close(self) -> None:
        """End all jobs with an error and the thread with them; safe to call twice."""
        with self._wake:
            self._closing = True
            self._nudge()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def busy(self) -> int:
        """Jobs that hold a slot."""
        return len(self._active)

    @property
    def queued(self) -> int:
        """Jobs without a slot."""
        return len(self._waiting) + self._extra.waiting

    def rate(self) -> float:
        """Tokens per second over the last two seconds."""
        now = time.monotonic()
        marks = [mark for mark in list(self._marks) if now - mark[0] <= _RATE_WINDOW_S]
        if not marks:
            return 0.0
        return max(0.0, (self.tokens_out - marks[0][1]) / max(now - marks[0][0], 0.25))

    # -- the engine's thread ------------------------------------------------------------------

    def _nudge(self) -> None:
        self._nudged = True
        self._wake.notify()

    def _run(self) -> None:
        death: str | None = None
        try:
            self._work()
        except Exception as error:
            # A fault of ours: a dead worker is replaced, a silent one would be waited for.
            logs.get("engine").exception("the engine's thread ends")
            death = f"{type(error).__name__}: {error}"
        with self._wake:
            self._closing = True
        stopped = Unavailable("the worker stops", code="WORKER_RESET")
        for job in [*self._active, *self._waiting]:
            self._fail(job, stopped)
        self._extra.fail_all(stopped)
        self._on_step()
        if death is not None:
            self._on_death(death)

    def _work(self) -> None:
        while not self._closing:
            began = time.monotonic()
            worked = self._step()
            if worked:
                self.steps += 1
                self.busy_s += time.monotonic() - began
                self._mark()
            self._on_step()
            if not worked:
                self._rest()

    def _rest(self) -> None:
        """Nobody wants anything: prove something, or sleep until somebody does."""
        with self._wake:
            if not self._nudged:
                self._wake.wait(IDLE_WORK_AFTER_S)
            if self._nudged or self._closing:
                self._nudged = False
                return
        # Proofs cost seconds of all cores: nothing is proved before somebody wants strict.
        if not self._strict_seen or not self._proofs.work(self._interrupted):
            with self._wake:
                while not self._nudged and not self._closing:
                    self._wake.wait()

    def _interrupted(self) -> bool:
        return self._nudged or self._closing

    def _step(self) -> bool:
        """One round of everything; False where there was nothing to do."""
        self._reap()
        self._admit()
        readers = self._readers()
        for reader in readers:
            feed = self._compute.replay if reader.replaying else self._compute.prefill
            before = reader.cached
            self._guarded([reader], partial(self._for_one, reader, feed))
            self.tokens_cached += reader.cached - before
        decoding = [job for job in self._active if not job.reading and job.finish is None]
        if decoding:
            self._close_up(decoding)
            for group in self._compute.groups(decoding):
                self._guarded(group, partial(self._compute.decode, group))
        self._settle()
        return bool(readers or decoding) | self._extra.step()

    def _readers(self) -> list[Job]:
        waiting = [job for job in self._active if job.reading]
        chosen = readers_of_step(waiting, self._chunk)
        for job in waiting:
            job.passed_over = 0 if job in chosen else job.passed_over + 1
        return chosen

    def _reap(self) -> None:
        now = time.monotonic()
        for job in [*self._active, *self._waiting]:
            if job.cancelled:
                self._fail(job, RbeeError("the task was cancelled", code="CANCELLED"))
            elif job.deadline is not None and now > job.deadline:
                self._fail(job, RbeeError("the deadline is over", code="DEADLINE_EXCEEDED"))

    def _admit(self) -> None:
        while self._waiting and self._cache.free:
            with self._wake:
                job = self._waiting.popleft()
                self._active.append(job)
            near = [one.slot.seq for one in self._active if one.slot is not None]
            slot, kept = self._cache.assign(
                job.prompt,
                proved=self._proofs.shortcuts,
                strict=job.strict,
                cold=job.cold,
                near=near,
            )
            job.start(slot, kept)
            self._strict_seen |= job.strict
            self.tokens_in += job.tokens_in
            self.tokens_cached += kept

    def _for_one(self, job: Job, call: Callable[[Job], None]) -> None:
        """Compute for `job` alone, so that its cancel may break off the call."""
        with self._wake:
            self._alone = None if job.cancelled else job
        try:
            if self._alone is job:
                call(job)
        finally:
            with self._wake:
                self._alone = None
                self._context.interrupt(False)

    def _close_up(self, jobs: Sequence[Job]) -> None:
        """Bring jobs that decode together onto consecutive sequences, once they are settled."""
        self._settled = self._settled + 1 if jobs == self._decoded else 0
        self._decoded = list(jobs)
        if self._settled < SETTLED_STEPS or self._waiting:
            return
        proved = self._proofs.shortcuts
        held = {job.slot.seq: job for job in jobs if job.slot is not None}
        movable = {seq for seq, job in held.items() if not job.strict or COPY in proved}
        free = [slot.seq for slot in self._cache.slots if not slot.busy]
        move = closing_move(sorted(held), free)
        if move is None or move[0] not in movable:
            return
        job = held[move[0]]
        if job.slot is not None:
            job.slot = self._cache.move(job.slot, move[1], proved=proved)

    def _settle(self) -> None:
        for job in [job for job in self._active if job.finish is not None]:
            job.end(profile=self._profile_id)
            self._forget(job)

    def _guarded(self, jobs: Sequence[Job], call: Callable[[], None]) -> None:
        """A failure in a call ends the jobs of that call, not the engine."""
        try:
            call()
        except RbeeError as error:
            self._give_up(jobs, error)
        except Exception as error:
            logs.get("engine").exception("a job failed by a fault of ours")
            self._give_up(jobs, RbeeError(f"the worker has a fault: {type(error).__name__}"))

    def _give_up(self, jobs: Sequence[Job], error: RbeeError) -> None:
        for job in jobs:
            if job.slot is not None and error.code == "CANCELLED":
                self._cache.trim(job.slot)
            elif job.slot is not None:
                self._cache.forget(job.slot)
            self._fail(job, error)

    def _fail(self, job: Job, error: RbeeError) -> None:
        # One call of llama.cpp may fail a job that another has failed already.
        if job in self._active or job in self._waiting:
            job.sink.error(error)
            self._forget(job)

    def _forget(self, job: Job) -> None:
        with self._wake:
            if self._by_id.get(job.id) is job:
                del self._by_id[job.id]
            self._decoded = [one for one in self._decoded if one is not job]
            if job in self._active:
                self._active.remove(job)
            else:
                self._waiting.remove(job)
            if not self._active and not self._waiting:
                self._idle.set()
        if job.slot is not None:
            self._cache.release(job.slot)
            job.slot = None
        job.close()

    def _mark(self) -> None:
        now = time.monotonic()
        if now - self._marks[-1][0] > _RATE_WINDOW_S / 8:
            self._marks.append((now, self.tokens_out))
