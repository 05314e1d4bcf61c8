"""Sessions: made by their first task, gone when idle; they hold numbers and no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbee_agent.errors import NotFound, RbeeError
from rbee_agent.queen.task import Task
from rbee_agent.runtime.clock import Clock


@dataclass(slots=True)
class Session:
    """What is known of one conversation."""

    id: str
    owner: str
    last_used: float
    turns: int = 0
    worker_id: str | None = None
    tokens_used: int = 0
    time_used_ms: int = 0
    budget_tokens: int | None = None
    budget_time_ms: int | None = None
    running: int = 0


class Sessions:
    """All live sessions."""

    def __init__(self, clock: Clock, ttl_s: float) -> None:
        self._clock = clock
        self._ttl = ttl_s
        self._sessions: dict[str, Session] = {}

    def check(self, session_id: str, owner: str) -> None:
        """Refuse work for a session of another key, or one that has spent its budget.

        Raises:
            RbeeError: FORBIDDEN or QUOTA_EXCEEDED.
        """
        session = self._live(session_id)
        if session is None:
            return
        if session.owner != owner:
            raise RbeeError("the session belongs to another key", code="FORBIDDEN")
        spent = (
            session.budget_tokens is not None and session.tokens_used >= session.budget_tokens
        ) or (session.budget_time_ms is not None and session.time_used_ms >= session.budget_time_ms)
        if spent:
            raise RbeeError(
                "the session has spent its budget",
                code="QUOTA_EXCEEDED",
                retry_after_ms=round(self._ttl * 1000),
            )

    def begin(self, task: Task) -> None:
        """A task of a session was accepted."""
        request = task.request
        if request.session_id is None:
            return
        session = self._live(request.session_id)
        if session is None:
            session = Session(request.session_id, task.owner, self._clock.monotonic())
            self._sessions[session.id] = session
        session.running += 1
        session.last_used = self._clock.monotonic()
        if request.budget is not None:
            session.budget_tokens = request.budget.tokens or session.budget_tokens
            session.budget_time_ms = request.budget.time_ms or session.budget_time_ms

    def finish(self, task: Task, took_ms: int) -> None:
        """A task of a session ended: its turn and its cost count."""
        session = self._of(task)
        if session is None:
            return
        session.running = max(0, session.running - 1)
        session.last_used = self._clock.monotonic()
        session.turns += 1
        session.tokens_used += task.stream.last_index + 1
        session.time_used_ms += took_ms
        session.worker_id = task.worker_id or session.worker_id

    def worker_of(self, task: Task) -> str | None:
        """Where the session's prefix lies, if the task may use it."""
        session = self._of(task)
        return None if session is None or task.request.kv_hint == "cold" else session.worker_id

    def token_limit(self, task: Task) -> int | None:
        """The most tokens that request and budgets leave the task; None: no limit of ours."""
        limits = [task.request.max_tokens]
        if task.request.budget is not None and task.request.session_id is None:
            limits.append(task.request.budget.tokens)
        session = self._of(task)
        if session is not None and session.budget_tokens is not None:
            limits.append(max(1, session.budget_tokens - session.tokens_used))
        return min((limit for limit in limits if limit is not None), default=None)

    def show(self, session_id: str, owner: str | None) -> dict[str, Any]:
        """A session as the API shows it; `owner` None may see all.

        Raises:
            NotFound: there is none (any more), or it is another key's.
        """
        session = self._live(session_id)
        if session is None or (owner is not None and session.owner != owner):
            raise NotFound(f"no session {session_id}: sessions end after {self._ttl:.0f} idle s")
        left = self._ttl - (self._clock.monotonic() - session.last_used)
        shown: dict[str, Any] = {
            "session_id": session.id,
            "ttl_ms": round(max(0.0, left) * 1000),
            "turns": session.turns,
            "kv_warmth": 1.0 if session.worker_id else 0.0,
            "worker_id": session.worker_id,
            "tokens_used": session.tokens_used,
            "time_used_ms": session.time_used_ms,
        }
        if session.budget_tokens is not None:
            shown["tokens_budget_remaining"] = max(0, session.budget_tokens - session.tokens_used)
        if session.budget_time_ms is not None:
            shown["time_budget_remaining_ms"] = max(
                0, session.budget_time_ms - session.time_used_ms
            )
        return shown

    def forget(self, session_id: str, owner: str | None) -> None:
        """End a session.

        Raises:
            NotFound: there is none, or it is another key's.
        """
        self.show(session_id, owner)
        del self._sessions[session_id]

    def sweep(self) -> None:
        """Drop the sessions whose time is over."""
        for session_id in list(self._sessions):
            self._live(session_id)

    def worker_gone(self, worker_id: str) -> None:
        """Its cache is gone with it."""
        for session in self._sessions.values():
            if session.worker_id == worker_id:
                session.worker_id = None

    def _of(self, task: Task) -> Session | None:
        return self._sessions.get(task.request.session_id) if task.request.session_id else None

    def _live(self, session_id: str) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None:
            return None
        idle = self._clock.monotonic() - session.last_used
        if idle > self._ttl and session.running == 0:
            del self._sessions[session_id]
            return None
        return session
