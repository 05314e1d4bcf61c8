"""The queen's event feed ``GET /v2/events``: a snapshot, then every change, resumable.

SSE events: ``snapshot`` (FleetSnapshot), ``change`` (Change), ``telemetry`` (Telemetry; lossy,
no id), ``narration`` (Narration). The id of a durable event is ``{epoch}-{seq}``; an id that the
queen no longer holds is answered with a new snapshot, so a reader never has to ask twice.
"""

from __future__ import annotations

from typing import Any, Literal

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.models import CatalogModel, PullProgress
from rbee_agent.contracts.nodes import NodeInfo
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo
from rbee_agent.contracts.workers import WorkerInfo

Noun = Literal["node", "worker", "task", "model", "deployment", "pull", "session", "policy"]


class Narration(Contract):
    """One thing that happened, in words, and what it is about."""

    seq: int
    at: float
    level: Literal["info", "warning", "error"] = "info"
    actor: str
    text: str
    noun: str | None = None
    id: str | None = None
    correlation_id: str | None = None


class Change(Contract):
    """One entity as it is now (put), or its end (delete)."""

    seq: int
    at: float
    noun: str
    id: str
    op: Literal["put", "delete"]
    value: dict[str, Any] | None = None


class QueenInfo(Contract):
    """Who the queen is and how it fares."""

    version: str
    started_at: float
    epoch: str
    queue_depth: int = 0
    queue_limit: int = 0
    running: int = 0
    policy: str | None = None


class FleetSnapshot(Contract):
    """The whole fleet at one moment; tasks are those that run, wait, or ended lately."""

    seq: int
    at: float
    queen: QueenInfo
    nodes: list[NodeInfo] = []
    workers: list[WorkerInfo] = []
    tasks: list[TaskInfo] = []
    models: list[CatalogModel] = []
    deployments: list[Deployment] = []
    pulls: list[PullProgress] = []
    narration: list[Narration] = []


class TapChunk(Contract):
    """``GET /v2/streams/tap``: what running streams said since the last chunk, coalesced."""

    at: float
    streams: list[TapStream]
    dropped: int = 0
    """Characters left out since the feed began, because the reader was slow."""


class TapStream(Contract):
    """One running stream in a tap chunk."""

    job_id: str
    model: str
    worker_id: str | None = None
    tokens_out: int
    tokens_per_s: float = 0.0
    text: str | None = None
    """New text; None where the reader's role may not read it."""
    state: str = "running"


TapChunk.model_rebuild()
