"""Nodes: hosts that run a hive, as the hive reports itself and as the queen judges it."""

from __future__ import annotations

from enum import StrEnum

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.workers import WorkerInfo


class NodeState(StrEnum):
    """What the queen thinks of a node."""

    REGISTERING = "registering"
    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    DRAINING = "draining"


class HiveIdentity(Contract):
    """Who a hive is; fixed for the life of its process."""

    node_id: str
    hostname: str
    version: str
    protocol: int
    os: str | None = None
    arch: str | None = None
    backends: list[str] = []
    started_at: float | None = None
    labels: dict[str, str] = {}
    region: str | None = None


class HiveSnapshot(Contract):
    """Everything a hive knows of its host: the first event of ``GET /v1/events``."""

    identity: HiveIdentity
    at: float
    devices: list[Device] = []
    workers: list[WorkerInfo] = []
    models: list[ModelFile] = []
    pulls: list[PullProgress] = []
    load_1m: float | None = None
    disk_free: int | None = None


class WorkerGauge(Contract):
    """The part of a worker that changes all the time."""

    id: str
    slots_busy: int = 0
    tokens_per_s: float = 0.0
    tokens_out_total: int = 0
    kv_usage: float | None = None
    memory_bytes: int | None = None


class Telemetry(Contract):
    """What changes every second on a host."""

    node_id: str
    at: float
    devices: list[Device] = []
    workers: list[WorkerGauge] = []
    load_1m: float | None = None
    disk_free: int | None = None


class PoolBeat(Contract):
    """One model on one device, as a heartbeat tells of it."""

    model: str
    device: str
    workers: int
    slots: int
    slots_busy: int = 0


class Heartbeat(Telemetry):
    """``POST /v2/nodes/{id}/heartbeat``: the telemetry, and what the host has to offer."""

    pools: list[PoolBeat] = []
    models: list[str] = []
    """Ids of the models on its disk."""


class NodeRegistration(Contract):
    """``POST /v2/nodes/register``: how the queen reaches a hive."""

    node_id: str
    url: str
    token: str | None = None
    """The hive's bearer token; kept 0600 by the queen, never shown."""
    certificate: str | None = None
    """SHA-256, in hex, of the only certificate that it may show; None: one that the system trusts
    (or plain http, on this machine)."""
    hostname: str | None = None
    version: str | None = None
    protocol: int | None = None
    labels: dict[str, str] = {}
    region: str | None = None


class NodeInfo(Contract):
    """One node as the queen shows it."""

    id: str
    state: NodeState
    name: str | None = None
    """What the operator calls it; ``hostname`` is what it calls itself."""
    hostname: str | None = None
    version: str | None = None
    os: str | None = None
    arch: str | None = None
    backends: list[str] = []
    labels: dict[str, str] = {}
    region: str | None = None
    devices: list[Device] = []
    models: list[str] = []
    """Ids of the models on its disk."""
    load_1m: float | None = None
    disk_free: int | None = None
    last_seen_at: float | None = None
    """When the queen last heard from it; Unix seconds."""
    observed_at: float | None = None
    """The host's own time of the telemetry shown."""
    reason: str | None = None
    """Why it is suspect, offline or draining."""
