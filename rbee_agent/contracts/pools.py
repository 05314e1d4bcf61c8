"""Pools and deployments: wishes that the queen keeps true."""

from __future__ import annotations

from pydantic import Field

from rbee_agent.contracts.base import Contract


class DeploymentRequest(Contract):
    """``POST /v2/workers``: have workers of a model, and keep having them."""

    model: str
    node_id: str | None = None
    """None: wherever it fits best."""
    backend: str | None = None
    device: str | None = None
    context: int | None = Field(None, ge=64)
    slots: int | None = Field(None, ge=1, le=256)
    threads: int | None = Field(None, ge=1)
    replicas: int = Field(1, ge=1, le=64)
    extra: dict[str, str] = {}


class Deployment(Contract):
    """A wish as the queen keeps it; `on_demand` ones end after idling."""

    id: str
    model: str
    node_id: str | None = None
    backend: str | None = None
    device: str | None = None
    context: int | None = None
    slots: int | None = None
    threads: int | None = None
    replicas: int = 1
    extra: dict[str, str] = {}
    on_demand: bool = False
    created_at: float = 0.0
    worker_ids: list[str] = []
    problem: str | None = None
    """Why the wish is not fulfilled yet."""


class PoolInfo(Contract):
    """One model on one host's device: ``GET /v2/pools``."""

    id: str
    model: str
    node_id: str
    device: str
    worker_ids: list[str]
    slots: int = 0
    slots_busy: int = 0
    ready: bool = False
    draining: bool = False
