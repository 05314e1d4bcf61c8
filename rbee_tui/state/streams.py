"""Token streams of running tasks: the newest text of each, bounded, with what was dropped counted.

Policy when full: a stream keeps its newest `MAX_CHARS` characters; the set keeps `MAX_STREAMS`
streams and lets the longest-ended go first. Nothing is dropped without being counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from rbee_agent.contracts.events import TapChunk, TapStream
from rbee_agent.contracts.tasks import TaskInfo

MAX_CHARS: Final = 16_384
MAX_STREAMS: Final = 128
RUNNING: Final = "running"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as far as we watched it."""

    job_id: str
    model: str
    worker_id: str | None = None
    state: str = RUNNING
    tokens_out: int = 0
    tokens_per_s: float = 0.0
    text: str = ""
    written: int = 0
    """Characters that ever came; `text` is the last of them."""
    readable: bool = True
    """False where our role may not read the text."""
    started_at: float = 0.0
    """Our time of its first chunk, Unix seconds."""
    ended_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self.state == RUNNING

    @property
    def dropped(self) -> int:
        """Characters that are no longer held."""
        return self.written - len(self.text)

    def since(self, seen: int) -> tuple[str, int]:
        """What came after the first `seen` characters, and how many of it are lost."""
        new = self.written - seen
        if new <= 0:
            return "", 0
        if new <= len(self.text):
            return self.text[-new:], 0
        return self.text, new - len(self.text)


@dataclass(frozen=True, slots=True)
class Streams:
    """All streams we know, in the order they began."""

    by_job: Mapping[str, Stream] = field(default_factory=lambda: MappingProxyType({}))
    dropped: int = 0
    """Characters that the queen left out because this reader was slow."""
    dropped_here: int = 0
    """Characters that our own inbox left out."""
    evicted: int = 0
    """Ended streams that were forgotten to make room."""

    def focus_order(self) -> list[Stream]:
        """Running streams, oldest first so that panes keep their place; then the last ended."""
        running = [s for s in self.by_job.values() if s.running]
        ended = sorted(
            (s for s in self.by_job.values() if not s.running),
            key=lambda s: s.ended_at or 0.0,
            reverse=True,
        )
        return running + ended


def apply_chunks(streams: Streams, chunks: Iterable[TapChunk], *, now: float) -> Streams:
    """The streams after some chunks of the tap; `now` is our Unix time."""
    by_job = dict(streams.by_job)
    dropped = streams.dropped
    for chunk in chunks:
        dropped = max(dropped, chunk.dropped)
        for part in chunk.streams:
            by_job[part.job_id] = _extend(by_job.get(part.job_id), part, now)
    evicted = streams.evicted + _evict(by_job)
    return replace(streams, by_job=MappingProxyType(by_job), dropped=dropped, evicted=evicted)


def settle(streams: Streams, tasks: Mapping[str, TaskInfo], *, now: float) -> Streams:
    """End the streams whose task ended, in case the tap's last word of them was lost."""
    over = {
        job_id: replace(
            stream,
            state=str(task.state),
            ended_at=now,
            tokens_out=max(stream.tokens_out, task.timings.tokens_out),
        )
        for job_id, stream in streams.by_job.items()
        if stream.running and (task := tasks.get(job_id)) is not None and task.state.final
    }
    if not over:
        return streams
    return replace(streams, by_job=MappingProxyType({**streams.by_job, **over}))


def _extend(stream: Stream | None, part: TapStream, now: float) -> Stream:
    if stream is None:
        stream = Stream(part.job_id, part.model, started_at=now)
    text = part.text or ""
    over = part.state != RUNNING
    return replace(
        stream,
        worker_id=part.worker_id or stream.worker_id,
        state=part.state if over or stream.running else stream.state,
        tokens_out=max(stream.tokens_out, part.tokens_out),
        tokens_per_s=part.tokens_per_s,
        text=(stream.text + text)[-MAX_CHARS:],
        written=stream.written + len(text),
        readable=part.text is not None or over or bool(stream.text),
        ended_at=(stream.ended_at or now) if over else stream.ended_at,
    )


def _evict(by_job: dict[str, Stream]) -> int:
    """Forget streams above the maximum, ended ones first, oldest first."""
    surplus = len(by_job) - MAX_STREAMS
    if surplus <= 0:
        return 0
    order = sorted(by_job.values(), key=lambda s: (s.running, s.ended_at or s.started_at))
    for stream in order[:surplus]:
        del by_job[stream.job_id]
    return surplus
