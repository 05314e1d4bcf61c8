"""One accepted task in the queen's memory. Its owner is the queue; others hold it to read."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.tasks import TaskInfo, TaskRequest, TaskState, Timings
from rbee_agent.errors import RbeeError
from rbee_agent.queen.placement import Decision
from rbee_agent.queen.stream import TaskStream
from rbee_agent.store.base import TaskRecord
from rbee_agent.store.journal import Journal


@dataclass(slots=True, eq=False)
class Task:
    """A task from acceptance to its end. Times ending in ``_at`` are UTC, others monotonic."""

    job_id: str
    request: TaskRequest
    model: str
    """The catalog id (or reference) that the request's name resolved to."""
    owner: str
    created_at: float
    accepted: float
    journal: Journal
    body: str
    """The request as JSON, without its id: what is stored and what makes two POSTs the same."""
    body_sha256: str
    deadline: float | None = None
    state: TaskState = TaskState.QUEUED
    stream: TaskStream = field(default_factory=TaskStream)
    placed: float | None = None
    first_token: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    promoted: bool = False
    worker_id: str | None = None
    node_id: str | None = None
    fingerprint: str | None = None
    """Of the model file that began the stream; it goes on with the same only."""
    profile: str | None = None
    prompt_sha256: str | None = None
    """Proof of how the first worker read the prompt."""
    context: int = 0
    """Tokens of context that a worker must have: one with less has refused it."""
    resumed: int = 0
    failures: int = 0
    """Attempts in a row that broke without one new token."""
    tokens_in: int = 0
    tokens_cached: int = 0
    decode_ms: int | None = None
    finish_reason: str | None = None
    error: RbeeError | None = None
    waiting_for: str | None = None
    on_time_probability: float | None = None
    predicted_start_ms: int | None = None
    decision: Decision | None = None
    moves: list[dict[str, Any]] = field(default_factory=list)
    """Workers that failed it, in order: their ids, why, and when (UTC)."""
    lost_reason: str | None = None
    """Set when the fleet says that its worker is gone, before its runner is stopped."""
    runner: asyncio.Task[None] | None = None
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a worker has accepted it (the request is sound), or when it has ended."""
    was_read: bool = False
    grace: asyncio.TimerHandle | None = None
    timer: asyncio.TimerHandle | None = None
    """Fires at the deadline."""
    told: tuple[int, str | None] = (-1, None)
    """The place and the reason that its readers were told last."""
    reported: int = 0
    reported_at: float = 0.0

    @property
    def flow(self) -> str:
        """Whom fairness counts it for: its session, else its key."""
        return self.request.session_id or self.owner

    @property
    def interactive(self) -> bool:
        """Whether it stands in the interactive class, by request or by promotion."""
        return self.promoted or self.request.priority == "interactive"

    @property
    def has_output(self) -> bool:
        """Whether the caller has (or may have) seen a part of the answer."""
        return self.stream.last_index >= 0

    def since(self, moment: float | None) -> int | None:
        """Milliseconds from acceptance to a moment."""
        return None if moment is None else max(0, round((moment - self.accepted) * 1000))

    def info(self, *, position: int | None = None) -> TaskInfo:
        """What the API and the event feed show."""
        total = None if self.ended_at is None else round((self.ended_at - self.created_at) * 1000)
        return TaskInfo.model_construct(
            job_id=self.job_id,
            state=self.state,
            model=self.model,
            workload=self.request.workload,
            priority=self.request.priority,
            session_id=self.request.session_id,
            strict=self.request.strict,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            deadline_ms=self.request.deadline_ms,
            max_tokens=self.request.max_tokens,
            budget=self.request.budget,
            queue_position=position,
            predicted_start_ms=self.predicted_start_ms,
            on_time_probability=self.on_time_probability,
            worker_id=self.worker_id,
            node_id=self.node_id,
            waiting_for=self.waiting_for if self.state is TaskState.QUEUED else None,
            finish_reason=self.finish_reason,
            error=self.error.body() if self.error else None,
            timings=Timings.model_construct(
                queue_ms=self.since(self.placed),
                first_token_ms=self.since(self.first_token),
                decode_time_ms=self.decode_ms,
                total_ms=total,
                tokens_in=self.tokens_in,
                tokens_out=self.stream.last_index + 1,
                tokens_cached=self.tokens_cached,
                resumed=self.resumed,
            ),
        )

    def record(self) -> TaskRecord:
        """The task as it is first written to the disk."""
        return TaskRecord(
            job_id=self.job_id,
            body_sha256=self.body_sha256,
            owner=self.owner,
            state=self.state.value,
            model=self.model,
            session_id=self.request.session_id,
            created_at=self.created_at,
            request=self.body,
            info=self._first_info(),
        )

    def _first_info(self) -> str:
        """The TaskInfo of a task that has just come, written by hand: every POST pays for it."""
        info: dict[str, Any] = {
            "job_id": self.job_id,
            "state": "queued",
            "model": self.model,
            "workload": self.request.workload,
            "priority": self.request.priority,
            "strict": self.request.strict,
            "created_at": self.created_at,
        }
        if self.request.session_id is not None:
            info["session_id"] = self.request.session_id
        if self.request.deadline_ms is not None:
            info["deadline_ms"] = self.request.deadline_ms
        if self.request.max_tokens is not None:
            info["max_tokens"] = self.request.max_tokens
        if self.request.budget is not None:
            info["budget"] = self.request.budget.dump()
        return json.dumps(info, separators=(",", ":"))

    def queued_frame(self, position: int) -> str:
        """The data of a ``queued`` frame."""
        frame: dict[str, Any] = {
            "type": "queued",
            "job_id": self.job_id,
            "queue_position": position,
        }
        if self.predicted_start_ms is not None:
            frame["predicted_start_ms"] = self.predicted_start_ms
        if self.waiting_for is not None:
            frame["reason"] = self.waiting_for
        return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)

    def started_frame(self) -> str:
        """The data of its ``started`` frame."""
        frame: dict[str, Any] = {
            "type": "started",
            "job_id": self.job_id,
            "worker_id": self.worker_id or "",
            "model": self.model,
            "queue_position": 0,
            "predicted_start_ms": 0,
        }
        return json.dumps(frame, separators=(",", ":"))


def body_of(request: TaskRequest) -> tuple[str, str]:
    """A request as JSON without its id, and the hash by which a repeated POST is known."""
    body = request.model_dump_json(exclude_defaults=True, exclude={"task_id"})
    return body, hashlib.sha256(body.encode()).hexdigest()
