"""Why a task ran where it ran, why it waits, or why it was refused."""

from __future__ import annotations

from typing import Any, Literal

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo


class RefusedTask(Contract):
    """A task that was never taken in, as the queen remembers it for a while."""

    job_id: str
    state: Literal["refused"] = "refused"
    model: str
    created_at: float
    """When it was refused: Unix seconds, UTC."""
    error: dict[str, Any]
    """What its caller was answered."""


class Move(Contract):
    """A worker that a task left, because it failed."""

    worker_id: str
    reason: str
    at: float
    """Unix seconds, UTC."""


class Load(Contract):
    """How many tasks waited and ran when a task was refused."""

    waiting: int
    running: int


class Explanation(Contract):
    """``GET /v2/tasks/{id}/explain``."""

    task: TaskInfo | RefusedTask
    decision: dict[str, Any] | None = None
    """Strategy, reason, and every candidate with its filter result or its score."""
    moves: list[Move] = []
    """Workers that it left on its way, oldest first."""
    queue: Load | None = None
    """Of a refused task."""
    waited_ms: int | None = None
    """This and what follows: while it waits."""
    starts_in_ms: int | None = None
    service_ms: int | None = None
    """What a task of its model takes."""
    service_measured: bool | None = None
    """Whether that was measured, or is the first guess."""
    deadline_in_ms: int | None = None
    on_time_probability: float | None = None
    preparation: list[dict[str, Any]] = []
    """Steps under way to have the model served."""
    deployments: list[Deployment] = []
    """Wishes for the model."""
    text: str = ""
    """All of it for a person."""
