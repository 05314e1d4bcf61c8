"""What the queen keeps of a host and of a worker; owned and changed by the registry alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.nodes import (
    NodeInfo,
    NodeRegistration,
    NodeState,
    Telemetry,
    WorkerGauge,
)
from rbee_agent.contracts.workers import WorkerInfo

_HERE = frozenset({NodeState.ONLINE, NodeState.SUSPECT, NodeState.DRAINING})


@dataclass(slots=True)
class Node:
    """One host as the queen knows it."""

    registration: NodeRegistration
    info: NodeInfo
    state: NodeState = NodeState.REGISTERING
    reason: str | None = None
    draining: bool = False
    last_sign: float = 0.0
    beat_at: float = -math.inf
    """When its last heartbeat came."""
    telemetry: Telemetry | None = None
    seen_at: float | None = None
    """When it was heard last; Unix seconds."""
    devices: list[Device] = field(default_factory=list)
    """As they were reported last."""
    models: dict[str, ModelFile] = field(default_factory=dict)
    pulls: dict[str, PullProgress] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The node's id."""
        return self.registration.node_id

    @property
    def shown_state(self) -> NodeState:
        """The state with draining told where the node is there at all."""
        return NodeState.DRAINING if self.draining and self.state in _HERE else self.state


@dataclass(slots=True)
class Worker:
    """One worker: what its hive says, and what the queen knows better."""

    info: WorkerInfo
    node_id: str
    kind: str = "rbee"
    """Which adapter speaks to it."""
    resume: str = "ids"
    """How a stream that broke elsewhere can go on here."""
    in_flight: set[str] = field(default_factory=set)
    trouble: str | None = None
    trouble_until: float = 0.0
    last_used: float = 0.0
    since: float = 0.0
    """When this incarnation was first heard of."""
    draining: bool = False
    gauge: WorkerGauge | None = None
    """The figures of the last telemetry."""
    speed: float = 0.0
    """Tokens a second, smoothed over telemetry."""
    indexed_speed: float = 0.0

    @property
    def memory(self) -> int:
        """Bytes that it takes: measured, else estimated."""
        measured = self.gauge.memory_bytes if self.gauge is not None else None
        return measured or self.info.memory_bytes or self.info.memory_estimate or 0

    @property
    def pool_id(self) -> str:
        """The pool it belongs to: one model on one device of one host."""
        return self.info.pool_id or pool_id(self.info.model, self.node_id, self.info.device)


def pool_id(model: str, node_id: str, device: str) -> str:
    """The pool of a model on a device: an opaque slug, the same whoever computes it."""
    text = f"{model}@{node_id}/{device}"
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in text)
