"""The fleet as the control center knows it: one immutable value, and what follows from it.

A new `Fleet` shares everything that did not change with the one before, so keeping an old one
costs little and comparing two is a matter of identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from rbee_agent.contracts.events import Narration, QueenInfo
from rbee_agent.contracts.models import CatalogModel, PullProgress
from rbee_agent.contracts.nodes import NodeInfo, WorkerGauge
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_agent.contracts.workers import WorkerInfo, WorkerState

HISTORY: Final = 60
"""Samples kept for each sparkline; at one a second, a minute."""
MAX_NARRATION: Final = 2_000
"""Events in words that are kept; older ones are in the queen's log."""
MAX_ENDED_TASKS: Final = 1_000
"""Ended tasks that are kept; the queen has the rest."""


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything the queen told us, at version `seq` of her feed."""

    queen: QueenInfo | None = None
    seq: int = 0
    at: float = 0.0
    """The queen's time of the newest event, Unix seconds."""
    offset: float = 0.0
    """The queen's clock minus ours, seconds, measured when the snapshot came."""
    nodes: Mapping[str, NodeInfo] = field(default_factory=_empty)
    workers: Mapping[str, WorkerInfo] = field(default_factory=_empty)
    gauges: Mapping[str, WorkerGauge] = field(default_factory=_empty)
    tasks: Mapping[str, TaskInfo] = field(default_factory=_empty)
    models: Mapping[str, CatalogModel] = field(default_factory=_empty)
    deployments: Mapping[str, Deployment] = field(default_factory=_empty)
    pulls: Mapping[str, PullProgress] = field(default_factory=_empty)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=_empty)
    """Nouns without a type here (sessions, policy) as `noun/id` to their JSON."""
    heard: Mapping[str, float] = field(default_factory=_empty)
    """Our time of the newest sign of each node, Unix seconds."""
    history: Mapping[str, tuple[float, ...]] = field(default_factory=_empty)
    """Newest last: `node/ID` utilisation 0 to 1, `worker/ID` and `fleet` tokens per second."""
    narration: tuple[Narration, ...] = ()
    unreadable: int = 0
    """Messages of the feed that could not be read since the app began."""
    _counted: list[Totals] = field(default_factory=list, init=False, repr=False, compare=False)
    """The totals, once somebody asked: the fleet does not change, and they are asked often."""

    def slots_busy(self, worker: WorkerInfo) -> int:
        """Streams the worker serves now, by its newest telemetry."""
        gauge = self.gauges.get(worker.id)
        return worker.slots_busy if gauge is None else gauge.slots_busy

    def tokens_per_s(self, worker: WorkerInfo) -> float:
        """Tokens the worker makes per second, by its newest telemetry."""
        gauge = self.gauges.get(worker.id)
        return worker.tokens_per_s if gauge is None else gauge.tokens_per_s

    def kv_usage(self, worker: WorkerInfo) -> float | None:
        """Share of the worker's KV cache in use, 0 to 1; None where it does not say."""
        gauge = self.gauges.get(worker.id)
        return worker.kv_usage if gauge is None or gauge.kv_usage is None else gauge.kv_usage

    def memory_bytes(self, worker: WorkerInfo) -> int | None:
        """Bytes the worker holds; None where nobody measured it."""
        gauge = self.gauges.get(worker.id)
        measured = None if gauge is None else gauge.memory_bytes
        return worker.memory_bytes if measured is None else measured

    def age(self, node_id: str, now: float) -> float | None:
        """Seconds since the queen last told us of the node; `now` is our Unix time."""
        heard = self.heard.get(node_id)
        return None if heard is None else max(0.0, now - heard)

    def totals(self) -> Totals:
        """Numbers for the line at the top."""
        if self._counted:
            return self._counted[0]
        running = queued = 0
        for task in self.tasks.values():
            running += task.state is TaskState.RUNNING
            queued += task.state is TaskState.QUEUED
        workers = self.workers.values()
        counted = Totals(
            nodes=len(self.nodes),
            workers=len(self.workers),
            ready=sum(w.state is WorkerState.READY for w in workers),
            running=running,
            queued=queued,
            tokens_per_s=sum(self.tokens_per_s(w) for w in workers),
        )
        self._counted.append(counted)
        return counted


@dataclass(frozen=True, slots=True)
class Totals:
    """The fleet in six numbers."""

    nodes: int
    workers: int
    ready: int
    running: int
    queued: int
    tokens_per_s: float
