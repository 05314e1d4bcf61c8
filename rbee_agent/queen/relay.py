"""The relay: a worker's frames into a task's journal and stream, with the least work per token.

Per token: find the index, count the ids, cut them off. No JSON is decoded, nothing is logged. The
journal has a frame before any reader can see it. A watchdog beside it notices a worker that has
gone silent, and an engine that makes no progress.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.workers import WorkerHealth
from rbee_agent.errors import Unreachable, from_body
from rbee_agent.queen.task import Task
from rbee_agent.wire.frames import index_of
from rbee_agent.wire.sse import ServerEvent

SILENCE_S = 0.6
"""Without a byte for so long a worker is asked; it pings every half second."""
LONE_SILENCE_S = 4.0
"""As long as no other worker could take the stream there is nothing to win by haste: on a busy
machine a living worker may be silent for a second."""
FAR = 12.0
"""So many round trips to a distant worker its silence may last longer: what a link loses is sent
again after two of them, then four, then eight."""
PROBE_S = 0.3
"""With `SILENCE_S` this is what a dead worker costs its readers: less than a second."""
WATCH_S = 0.05
STILL_S = 0.7
"""When the watchdog itself comes so late, it was this process that stood still."""
HUNG_UNKNOWN_S = 30.0
"""Patience with an engine whose step time is not known yet."""
HUNG_LEAST_S = 3.0
HUNG_STEPS = 20.0
"""So many of its usual step times without a step: the engine hangs."""

_IDS_MARK = ',"ids":'
_RETRY_CODES = frozenset({"WORKER_RESET", "POOL_UNREADY", "POOL_UNAVAILABLE"})


def _near() -> float:
    return 0.0


class Broken(Exception):
    """The stream cannot go on on this worker; another may take it."""

    def __init__(
        self,
        reason: str,
        *,
        blame: bool = True,
        counts: bool = True,
        pause_s: float = 0.0,
        code: str = "WORKER_RESET",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        """What the task ends with when nobody can take it."""
        self.counts = counts
        """Whether it uses up one of the task's attempts."""
        self.pause_s = pause_s
        """So long it is no use to go on anywhere."""
        self.blame = blame
        """Whether the worker is to be distrusted for it."""


@dataclass(slots=True)
class Progress:
    """When a worker was last heard, and how its engine moves."""

    heard: float
    moved: float
    step: int = -1
    step_s: float = 0.0
    """Usual duration of one engine step; 0 while unknown."""
    tokens: int = 0

    def on_step(self, step: int, now: float) -> None:
        """Take over the engine's step counter."""
        if step != self.step:
            if self.step >= 0 and step > self.step:
                took = (now - self.moved) / (step - self.step)
                self.step_s = took if self.step_s == 0 else 0.8 * self.step_s + 0.2 * took
            self.step, self.moved = step, now

    def patience(self) -> float:
        """Seconds without a step after which the engine counts as hung."""
        if self.step_s == 0:
            return HUNG_UNKNOWN_S
        return min(60.0, max(HUNG_LEAST_S, HUNG_STEPS * self.step_s))


@dataclass(slots=True)
class Relay:
    """One attempt of one task on one worker."""

    task: Task
    now: Callable[[], float]
    origin: dict[str, Any]
    """Who goes on with the stream here: a line of the journal, so that a restarted queen knows."""
    on_first_token: Callable[[], None]
    elsewhere: Callable[[], bool]
    """Whether another worker could take the stream now."""
    distance: Callable[[], float] = _near
    """Seconds to the worker and back."""
    progress: Progress = field(init=False)
    end: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        moment = self.now()
        self.progress = Progress(heard=moment, moved=moment)

    async def pump(self, events: AsyncIterator[list[ServerEvent]]) -> dict[str, Any]:
        """Relay until the worker's ``end``, which is returned.

        Raises:
            Broken: the stream stopped without an end, or the worker lied about its tokens.
            RbeeError: the worker ended the task with an error that another would repeat.
            Unavailable: the journal cannot be written.
        """
        try:
            async for batch in events:
                self.progress.heard = self.now()
                if batch:
                    self._take(batch)
                    if self.end is not None:
                        return self.end
        except Unreachable as error:
            raise Broken(error.message) from error
        raise Broken("the worker closed the stream before its end")

    async def watch(self, probe: Callable[[], Awaitable[WorkerHealth]]) -> None:
        """Watch the worker while `pump` runs.

        Raises:
            Broken: it is silent and does not answer a probe either, or its engine hangs.
        """
        while True:
            progress = self.progress
            due = min(progress.heard + SILENCE_S, progress.moved + progress.patience())
            until = max(due, self.now() + WATCH_S)
            await asyncio.sleep(until - self.now())
            now = self.now()
            if now - until > STILL_S:
                # Nothing can be said about the worker.
                self.progress.heard = self.progress.moved = now
                continue
            if now - self.progress.heard >= SILENCE_S:
                await self._ask(probe)
            # What a link holds back is silence; an engine hangs that is heard and does not move.
            stalled = self.progress.heard - self.progress.moved
            if stalled > self.progress.patience():
                raise Broken(
                    f"its engine has made no step for {stalled:.1f} s", code="DECODE_TIMEOUT"
                )

    async def _ask(self, probe: Callable[[], Awaitable[WorkerHealth]]) -> None:
        try:
            health = await probe()
        except Unreachable as error:
            silent = self.now() - self.progress.heard
            patience = SILENCE_S if self.elsewhere() else LONE_SILENCE_S
            if silent > patience + FAR * self.distance():
                raise Broken(f"no sign of life for {silent:.1f} s, and {error.message}") from error
            return
        if health.status == "failed":
            raise Broken(health.error or "the worker has failed")
        self.progress.heard = self.now()
        self.progress.on_step(health.step, self.now())

    def _take(self, batch: list[ServerEvent]) -> None:
        """Frames that came together: one write to the journal, one wake-up of the readers."""
        kind = "token"
        frames: list[tuple[int, str]] = []
        lines: list[str] = []
        last = self.task.stream.last_index
        for event in batch:
            name, data = event.event, event.data
            if name in ("token", "tool_call"):
                if name != kind and frames:
                    self._publish(kind, frames, lines)
                    frames, lines = [], []
                kind = name
                index = index_of(data)
                cut = data.rfind(_IDS_MARK)
                count = data.count(",", cut + 1) + 1 if cut >= 0 else index - last
                if index - last != count or index <= last:
                    raise Broken(f"it sent token {index} after {last} with {count} ids")
                last = index
                lines.append(data)
                frames.append((index, data if cut < 0 else data[:cut] + "}"))
                continue
            if frames:
                self._publish(kind, frames, lines)
                frames, lines = [], []
            self._other(name, data)
        if frames:
            self._publish(kind, frames, lines)

    def _publish(self, kind: str, frames: list[tuple[int, str]], lines: list[str]) -> None:
        text = "\n".join(lines) + "\n"
        if text.count("\n") != len(lines):
            raise Broken("it sent a frame of several lines")
        task = self.task
        if task.first_token is None:
            task.first_token = self.now()
            self.on_first_token()
        if self.progress.tokens == 0:
            text = json.dumps(self.origin, separators=(",", ":")) + "\n" + text
        task.journal.append(text)
        self.progress.tokens += len(frames)
        self.progress.moved = task.stream.arrived = self.progress.heard
        task.stream.durable(kind, frames)

    def _other(self, name: str, data: str) -> None:
        value = json.loads(data)
        if name == "ping":
            self.progress.on_step(int(value.get("step", 0)), self.now())
        elif name == "accepted":
            self._accepted(value)
        elif name == "result":
            self._publish("result", [(0, data)], [data])
        elif name == "end":
            self.end = value
        elif name == "error":
            error = from_body({"error": value})
            if error.code in _RETRY_CODES:
                raise Broken(error.message, blame=error.code == "WORKER_RESET")
            raise error

    def _accepted(self, value: dict[str, Any]) -> None:
        self.task.taken.set()
        proof = value.get("prompt_ids_sha256")
        known = self.task.prompt_sha256
        if proof and known and proof != known:
            raise Broken("it read the prompt as other tokens than the worker before")
        self.task.prompt_sha256 = proof or known
        self.origin["prompt_sha256"] = self.task.prompt_sha256
        if not self.task.has_output:
            self.task.tokens_in = int(value.get("tokens_in", 0))
            self.origin["tokens_in"] = self.task.tokens_in
