"""The registry: owner of the fleet's state. Hives' reports go in, placement's views come out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.nodes import (
    HiveSnapshot,
    NodeInfo,
    NodeRegistration,
    NodeState,
    Telemetry,
    WorkerGauge,
)
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.fleet import Node, Worker
from rbee_agent.queen.placement import ModelIndex
from rbee_agent.queen.views import node_info, view_of, worker_info
from rbee_agent.runtime.clock import Clock

SPEED_STEP = 0.1
"""Share by which a worker's speed must change before placement is told."""
TROUBLE_S = 3.0
"""How long a worker that broke a stream is not trusted, unless it reports anew before."""


class Registry:
    """Nodes and workers. Changes are told to the feed and to `on_capacity` and `on_lost`."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self.nodes: dict[str, Node] = {}
        self.workers: dict[str, Worker] = {}
        self.version = 0
        self.on_capacity: Callable[[str], None] = _nothing
        """A worker of this model may have come free."""
        self.on_lost: Callable[[str, str], None] = _nothing
        """A worker is no longer there: streams on it must move."""
        self.on_loaded: Callable[[float], None] = _unmeasured
        """A worker became ready, so many seconds after it was first heard of."""
        self.on_change: Callable[[], None] = _nothing
        """Workers or nodes changed: wishes may be unfulfilled."""
        self._feed = feed
        self._clock = clock
        self._indexes: dict[str, ModelIndex] = {}
        self._indexed: dict[str, str] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._peaks: dict[str, float] = {}
        """By model: highest measured memory over the estimate."""
        feed.source("node", self.node_data)
        feed.source("worker", self.worker_data)
        feed.source("pull", self._pull_data)

    # -- what others read -------------------------------------------------------------------

    def index(self, model: str) -> ModelIndex | None:
        """The workers of a model, as placement wants them."""
        return self._indexes.get(model)

    def node_data(self, node_id: str) -> dict[str, Any] | None:
        """A node as the API shows it."""
        node = self.nodes.get(node_id)
        return None if node is None else node_info(node).dump()

    def worker_data(self, worker_id: str) -> dict[str, Any] | None:
        """A worker as the API shows it."""
        worker = self.workers.get(worker_id)
        return None if worker is None else worker_info(worker).dump()

    def correction(self, model: str) -> float:
        """How much more (or less) memory workers of a model took than was estimated."""
        return self._peaks.get(model, 1.0)

    async def next_change(self) -> None:
        """Wait until anything about workers or nodes changes; the caller gives the deadline."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def tell_change(self) -> None:
        """Something changed: wishes are looked at, and who waits is woken."""
        self.on_change()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- nodes ------------------------------------------------------------------------------

    def add_node(self, registration: NodeRegistration) -> Node:
        """Know a node; one that is known already keeps its state."""
        node = self.nodes.get(registration.node_id)
        if node is None:
            info = NodeInfo(
                id=registration.node_id,
                state=NodeState.REGISTERING,
                hostname=registration.hostname,
                version=registration.version,
                labels=registration.labels,
                region=registration.region,
            )
            node = Node(registration, info)
            self.nodes[node.id] = node
            self._feed.narrate(f"{node.id} is being registered", noun="node", id=node.id)
        else:
            node.registration = registration
        self._feed.changed("node", node.id)
        return node

    def remove_node(self, node_id: str) -> None:
        """Forget a node and its workers."""
        node = self.nodes.pop(node_id, None)
        if node is None:
            return
        for worker in [w for w in self.workers.values() if w.node_id == node_id]:
            self.worker_gone(worker.info.id, "its host was removed")
        self._feed.changed("node", node_id)
        self._feed.narrate(f"{node_id} was removed", noun="node", id=node_id)

    def set_node_state(self, node: Node, state: NodeState, reason: str | None = None) -> None:
        """Judge a node; streams on an offline node move elsewhere."""
        if node.state is state and node.reason == reason:
            return
        changed = node.state is not state
        node.state, node.reason = state, reason
        self._feed.changed("node", node.id)
        if changed:
            because = f": {reason}" if reason else ""
            self._feed.narrate(
                f"{node.id} is {state.value}{because}",
                level="info" if state is NodeState.ONLINE else "warning",
                noun="node",
                id=node.id,
            )
        self._refresh_node(node)
        if state is NodeState.OFFLINE:
            for worker in list(self.workers.values()):
                if worker.node_id == node.id:
                    self.on_lost(worker.info.id, f"its host {node.id} is offline")
        self.tell_change()

    def drain_node(self, node: Node, *, draining: bool) -> None:
        """Give a node nothing new (or again)."""
        node.draining = draining
        self._feed.changed("node", node.id)
        verb = "is draining: it gets no new work" if draining else "takes work again"
        self._feed.narrate(f"{node.id} {verb}", noun="node", id=node.id)
        self._refresh_node(node)
        self.tell_change()

    def sign_of_life(self, node: Node) -> None:
        """Something came from the node."""
        node.last_sign = self._clock.monotonic()
        if node.state in (NodeState.SUSPECT, NodeState.OFFLINE):
            self.set_node_state(node, NodeState.ONLINE)

    def apply_snapshot(self, node: Node, snapshot: HiveSnapshot) -> None:
        """Take over all that a hive knows; workers it does not name are gone."""
        who = snapshot.identity
        node.info = node.info.model_copy(
            update={
                "hostname": who.hostname,
                "version": who.version,
                "os": who.os,
                "arch": who.arch,
                "backends": who.backends,
                "labels": who.labels or node.registration.labels,
                "region": who.region or node.registration.region,
                "load_1m": snapshot.load_1m,
                "disk_free": snapshot.disk_free,
                "observed_at": snapshot.at,
            }
        )
        node.devices = snapshot.devices
        node.telemetry = None
        node.seen_at = self._clock.utc()
        node.models = {file.id: file for file in snapshot.models}
        node.pulls = {pull.model: pull for pull in snapshot.pulls}
        node.last_sign = self._clock.monotonic()
        named = {info.id for info in snapshot.workers}
        for worker in [w for w in self.workers.values() if w.node_id == node.id]:
            if worker.info.id not in named:
                self.worker_gone(worker.info.id, "its hive does not know it any more")
        for info in snapshot.workers:
            self.apply_worker(node, info)
        self.set_node_state(node, NodeState.ONLINE)
        self._feed.changed("node", node.id)
        self.tell_change()

    def apply_telemetry(self, node: Node, telemetry: Telemetry) -> None:
        """Take over a host's figures; no event but the lossy telemetry follows from them."""
        node.telemetry = telemetry
        node.seen_at = self._clock.utc()
        if telemetry.devices:
            node.devices = telemetry.devices
        for gauge in telemetry.workers:
            worker = self.workers.get(gauge.id)
            if worker is not None:
                self._apply_gauge(worker, gauge)

    def apply_model(self, node: Node, file: ModelFile) -> None:
        """A model file lies on the node."""
        node.models[file.id] = file
        self._feed.changed("node", node.id)
        self.tell_change()

    def model_gone(self, node: Node, model_id: str) -> None:
        """A model file is gone from the node."""
        if node.models.pop(model_id, None) is not None:
            self._feed.changed("node", node.id)

    def apply_pull(self, node: Node, pull: PullProgress) -> None:
        """A download on the node went on, or ended."""
        node.pulls[pull.model] = pull
        self._feed.changed("pull", pull.model)
        if pull.phase in ("done", "error"):
            if pull.file is not None:
                self.apply_model(node, pull.file)
            self.tell_change()

    # -- workers ----------------------------------------------------------------------------

    def apply_worker(
        self, node: Node, info: WorkerInfo, *, kind: str = "rbee", resume: str = "ids"
    ) -> None:
        """A worker is new, or changed."""
        worker = self.workers.get(info.id)
        before = None if worker is None else worker.info
        if worker is None:
            now = self._clock.monotonic()
            worker = Worker(info, node.id, kind, resume, last_used=now, since=now)
            worker.speed = info.tokens_per_s
            self.workers[info.id] = worker
        worker.info = info
        reborn = before is not None and before.incarnation != info.incarnation
        if reborn:
            worker.since = self._clock.monotonic()
        down = info.state is not WorkerState.READY
        fell = down and before is not None and before.state is WorkerState.READY
        if reborn or (fell and info.state is not WorkerState.DRAINING):
            self.on_lost(info.id, info.error or f"the worker is {info.state.value}")
        if info.state is WorkerState.READY and (
            reborn or before is None or before.state != "ready"
        ):
            worker.trouble = None
            if before is not None:
                self.on_loaded(self._clock.monotonic() - worker.since)
        self._tell_worker(before, worker)
        self._refresh(worker)
        self.tell_change()

    def worker_gone(self, worker_id: str, reason: str) -> None:
        """A worker is no more."""
        worker = self.workers.pop(worker_id, None)
        if worker is None:
            return
        model = self._indexed.pop(worker_id, None)
        if model is not None:
            self._indexes[model].remove(worker_id)
            if not len(self._indexes[model]):
                del self._indexes[model]
        self._feed.changed("worker", worker_id)
        self._feed.narrate(f"worker {worker_id} is gone: {reason}", noun="worker", id=worker_id)
        self.on_lost(worker_id, reason)
        self.tell_change()

    def distrust(self, worker_id: str, reason: str) -> None:
        """A stream broke on the worker: no new work for it until it reports anew, or for 3 s."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        worker.trouble = reason
        worker.trouble_until = self._clock.monotonic() + TROUBLE_S
        self._feed.changed("worker", worker_id)
        self._refresh(worker)

    def trust_again(self) -> list[str]:
        """End distrust that is over; the models whose workers came back."""
        now = self._clock.monotonic()
        models = []
        for worker in self.workers.values():
            if worker.trouble is not None and worker.trouble_until <= now:
                worker.trouble = None
                models.append(worker.info.model)
                self._feed.changed("worker", worker.info.id)
                self._refresh(worker)
        return models

    def reserve(self, worker_id: str, job_id: str) -> Worker:
        """Hold a slot for a task."""
        worker = self.workers[worker_id]
        worker.in_flight.add(job_id)
        worker.last_used = self._clock.monotonic()
        self._refresh(worker, tell=False)
        self._feed.changed("worker", worker_id)
        return worker

    def release(self, worker_id: str, job_id: str) -> None:
        """Give a slot back."""
        worker = self.workers.get(worker_id)
        if worker is None or job_id not in worker.in_flight:
            return
        worker.in_flight.discard(job_id)
        worker.last_used = self._clock.monotonic()
        self._feed.changed("worker", worker_id)
        self._refresh(worker)
        if worker.draining:
            self.tell_change()

    def drain_worker(self, worker_id: str) -> None:
        """Give a worker nothing new."""
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.draining = True
            self._refresh(worker)

    # -- inside -----------------------------------------------------------------------------

    def _apply_gauge(self, worker: Worker, gauge: WorkerGauge) -> None:
        """Keep the figures beside the worker: nothing is copied a thousand times a second."""
        worker.gauge = gauge
        info = worker.info
        if gauge.memory_bytes and info.memory_estimate:
            ratio = min(2.0, max(0.5, gauge.memory_bytes / info.memory_estimate))
            self._peaks[info.model] = max(self._peaks.get(info.model, 0.0), ratio)
        if gauge.tokens_per_s > 0:
            old = worker.speed
            worker.speed = 0.8 * old + 0.2 * gauge.tokens_per_s if old else gauge.tokens_per_s
            # Placement compares speeds; a small change moves nothing.
            if abs(worker.speed - worker.indexed_speed) > SPEED_STEP * worker.indexed_speed:
                self._refresh(worker, tell=False)

    def _tell_worker(self, before: WorkerInfo | None, worker: Worker) -> None:
        info = worker.info
        self._feed.changed("worker", info.id)
        if before is not None and before.state == info.state:
            return
        text = f"worker {info.id} ({info.model} on {worker.node_id}) is {info.state.value}"
        bad = info.state in (WorkerState.FAILED, WorkerState.CRASH_LOOPING, WorkerState.BACKOFF)
        if bad and info.error:
            text += f": {info.error}"
        self._feed.narrate(text, level="error" if bad else "info", noun="worker", id=info.id)

    def _refresh_node(self, node: Node) -> None:
        for worker in self.workers.values():
            if worker.node_id == node.id:
                self._refresh(worker)

    def _refresh(self, worker: Worker, *, tell: bool = True) -> None:
        """Put the worker's new view into the index of its model."""
        info = worker.info
        was = self._indexed.get(info.id)
        if was is not None and was != info.model:
            self._indexes[was].remove(info.id)
        self._indexed[info.id] = info.model
        worker.indexed_speed = worker.speed
        self._indexes.setdefault(info.model, ModelIndex()).put(
            view_of(worker, self.nodes.get(worker.node_id))
        )
        self.version += 1
        if tell and info.state is WorkerState.READY and len(worker.in_flight) < info.slots:
            self.on_capacity(info.model)

    def _pull_data(self, model: str) -> dict[str, Any] | None:
        for node in self.nodes.values():
            if model in node.pulls:
                return {"node_id": node.id, **node.pulls[model].dump()}
        return None


def _unmeasured(_: float) -> None:
    """Before anybody measures."""


def _nothing(*_: str) -> None:
    """Before anybody listens."""
