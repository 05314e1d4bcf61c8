"""``GET /v2/streams/tap``: what all running streams say, coalesced at 10 Hz, for watchers.

One ticker serves all watchers, and only while there is one: tokens cost nothing more otherwise.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from rbee_agent.contracts.events import TapChunk, TapStream
from rbee_agent.contracts.tasks import TaskState
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks
from rbee_agent.runtime.clock import Clock
from rbee_agent.wire.sse import encode

TICK_S = 0.1
WAITING_MAX = 50
"""Chunks that wait for a slow watcher; older ones are dropped and counted."""


@dataclass(slots=True, eq=False)
class _Watcher:
    reads_text: bool
    owner: str | None
    waiting: deque[bytes] = field(default_factory=deque)
    dropped: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Seen:
    position: int
    tokens: int
    at: float


class Tap:
    """Coalesces running streams for any number of watchers."""

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._watchers: set[_Watcher] = set()
        self._seen: dict[str, _Seen] = {}
        self._ended: list[Task] = []
        self._ticker: asyncio.TimerHandle | None = None

    async def read(self, *, owner: str | None, text: bool) -> AsyncGenerator[bytes, None]:
        """SSE bytes for one watcher; never ends by itself.

        Args:
            owner: whose tasks' text may be read; None: everybody's.
            text: whether the watcher may read text at all.
        """
        watcher = _Watcher(text, owner)
        self._watchers.add(watcher)
        if self._ticker is None:
            self._seen.clear()
            self._ticker = asyncio.get_running_loop().call_later(0, self._tick)
        try:
            while True:
                await watcher.news.wait()
                watcher.news.clear()
                chunks = b"".join(watcher.waiting)
                watcher.waiting.clear()
                if chunks:
                    yield chunks
        finally:
            self._watchers.discard(watcher)

    def _tick(self) -> None:
        if not self._watchers:
            self._ticker = None
            return
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        streams = self._streams()
        if not streams:
            return
        at = self._clock.utc()
        for watcher in self._watchers:
            chunk = TapChunk.model_construct(
                at=at,
                dropped=watcher.dropped,
                streams=[
                    stream
                    if watcher.reads_text and watcher.owner in (None, owner)
                    else stream.model_copy(update={"text": None})
                    for owner, stream in streams
                ],
            )
            if len(watcher.waiting) >= WAITING_MAX:
                old = watcher.waiting.popleft()
                watcher.dropped += len(old)
            watcher.waiting.append(encode(chunk.dump_json(), event="tap"))
            watcher.news.set()

    def ended(self, task: Task) -> None:
        """A task ended: its last words are in the next chunk."""
        if self._watchers:
            self._ended.append(task)

    def _streams(self) -> list[tuple[str, TapStream]]:
        """What each stream said since the last tick, with its owner."""
        now = self._clock.monotonic()
        ended, self._ended = self._ended, []
        running = [task for task in self._tasks.queue.open.values() if task.stream.started]
        found = [
            (task.owner, stream)
            for task in [*running, *ended]
            if (stream := self._news(task, now)) is not None
        ]
        for task in ended:
            self._seen.pop(task.job_id, None)
        return found

    def _news(self, task: Task, now: float) -> TapStream | None:
        seen = self._seen.get(task.job_id)
        if seen is None:
            seen = _Seen(0, task.stream.last_index + 1, now)
        elif seen.position == len(task.stream):
            return None
        position, frames = task.stream.tokens_since(seen.position)
        tokens, took = task.stream.last_index + 1, now - seen.at
        self._seen[task.job_id] = _Seen(position, tokens, now)
        return TapStream.model_construct(
            job_id=task.job_id,
            model=task.model,
            worker_id=task.worker_id,
            tokens_out=tokens,
            tokens_per_s=round((tokens - seen.tokens) / took, 1) if took > 0 else 0.0,
            text="".join(json.loads(frame)["t"] for frame in frames),
            state=(task.state if task.state.final else TaskState.RUNNING).value,
        )
