"""What the queen asks of a store. SQLite implements it; PostgreSQL will, with the same tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as the disk knows it. Times are Unix seconds."""

    job_id: str
    body_sha256: str
    """Hash of the request: tells a repeated POST from another task under the same id."""
    owner: str
    """Id of the key that handed it in."""
    state: str
    model: str
    session_id: str | None
    created_at: float
    request: str
    """TaskRequest as JSON."""
    info: str
    """TaskInfo as JSON."""
    ended_at: float | None = None
    decision: str | None = None
    """Why it ran where it ran, as JSON."""
    frames: bytes | None = None
    """Its durable frames: NDJSON, compressed with zlib; None while it runs."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended, as it is written."""

    state: str
    ended_at: float
    info: str
    decision: str | None = None
    frames: bytes | None = None


class Store(Protocol):
    """Durable state of one queen. Every write is on the disk when its await returns.

    Every method raises `Unavailable` with code STORE_UNAVAILABLE where the disk is full, locked
    or gone; nothing is half written then.
    """

    async def add_task(self, record: TaskRecord) -> bool:
        """Keep a new task; False (and nothing written) where its id is taken."""

    async def end_task(self, job_id: str, ending: Ending) -> None:
        """Write how a task ended."""

    async def task(self, job_id: str) -> TaskRecord | None:
        """One task, whole."""

    async def task_infos(
        self,
        *,
        limit: int,
        state: str | None = None,
        model: str | None = None,
        owner: str | None = None,
        session_id: str | None = None,
        before: float | None = None,
    ) -> list[str]:
        """TaskInfo JSON of the newest tasks, newest first; `before` pages by creation time."""

    async def open_tasks(self) -> list[TaskRecord]:
        """Tasks that were accepted and have not ended, oldest first."""

    async def forget_tasks(self, ended_before: float) -> int:
        """Delete tasks whose retention is over; how many they were."""

    async def put(self, kind: str, id: str, value: str) -> None:
        """Keep a document."""

    async def delete(self, kind: str, id: str) -> None:
        """Drop a document; nothing happens where there is none."""

    async def documents(self, kind: str) -> dict[str, str]:
        """All documents of a kind, by id."""

    async def close(self) -> None:
        """Write what is waiting and close."""
