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

    def _streams(self) -> list[tuple[str, TapStream]]:
        now = self._clock.monotonic()
        found: list[tuple[str, TapStream]] = []
        live = {
            task.job_id: task
            for task in [*self._tasks.queue.open.values(), *self._tasks.ending.values()]
            if task.stream.started
        }
        for job_id in [*self._seen]:
            if job_id not in live:
                info = self._tasks.recent.get(job_id)
                del self._seen[job_id]
                if info is not None:
                    found.append(
                        (
                            "",
                            TapStream.model_construct(
                                job_id=job_id,
                                model=info.model,
                                worker_id=info.worker_id,
                                tokens_out=info.timings.tokens_out,
                                tokens_per_s=0.0,
                                text=None,
                                state=info.state.value,
                            ),
                        )
                    )
        for job_id, task in live.items():
            seen = self._seen.get(job_id) or _Seen(0, task.stream.last_index + 1, now)
            position, frames = task.stream.tokens_since(seen.position)
            tokens = task.stream.last_index + 1
            if position == seen.position and job_id in self._seen:
                continue
            took = now - seen.at
            self._seen[job_id] = _Seen(position, tokens, now)
            found.append(
                (
                    task.owner,
                    TapStream.model_construct(
                        job_id=job_id,
                        model=task.model,
                        worker_id=task.worker_id,
                        tokens_out=tokens,
                        tokens_per_s=round((tokens - seen.tokens) / took, 1) if took > 0 else 0.0,
                        text="".join(json.loads(frame)["t"] for frame in frames),
                        state=(task.state if task.state.final else TaskState.RUNNING).value,
                    ),
                )
            )
        return found
