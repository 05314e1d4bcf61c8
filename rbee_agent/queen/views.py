"""Hosts and workers as others see them: clients, without addresses and tokens, and placement."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.nodes import NodeInfo
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.queen.fleet import Node, Worker
from rbee_agent.queen.placement import WorkerView


def node_info(node: Node) -> NodeInfo:
    """A node as the API shows it, typed."""
    update: dict[str, Any] = {
        "state": node.shown_state,
        "name": node.registration.hostname,
        "reason": node.reason,
        "models": sorted(node.models),
        "devices": node.devices,
        "last_seen_at": node.seen_at,
    }
    if node.telemetry is not None:
        update |= {
            "load_1m": node.telemetry.load_1m,
            "disk_free": node.telemetry.disk_free,
            "observed_at": node.telemetry.at,
        }
    return node.info.model_copy(update=update)


def worker_info(worker: Worker) -> WorkerInfo:
    """A worker as clients may see it: no address, no token."""
    gauge = worker.gauge
    figures = gauge.model_dump(exclude={"id"}, exclude_none=True) if gauge is not None else {}
    busy = gauge.slots_busy if gauge is not None else worker.info.slots_busy
    return worker.info.model_copy(
        update=figures
        | {
            "url": None,
            "token": None,
            "node_id": worker.node_id,
            "pool_id": worker.pool_id,
            "slots_busy": max(busy, len(worker.in_flight)),
            "error": worker.info.error or worker.trouble,
        }
    )


def view_of(worker: Worker, node: Node | None) -> WorkerView:
    """A worker on its host as placement sees it."""
    info = worker.info
    device = next((item for item in node.devices if item.id == info.device), None) if node else None
    state = "draining" if worker.draining else info.state.value
    return WorkerView(
        id=info.id,
        node_id=worker.node_id,
        pool_id=worker.pool_id,
        model=info.model,
        state=state,
        slots=info.slots,
        busy=len(worker.in_flight),
        tokens_per_s=worker.speed,
        context=info.context,
        backend=info.backend,
        device=info.device,
        region=node.info.region if node else None,
        fingerprint=info.fingerprint,
        profile=info.profile.id if info.profile else None,
        memory_free=device.memory_free if device else 0,
        memory_total=device.memory_total if device else 0,
        node_state=node.shown_state.value if node else "online",
        trouble=worker.trouble,
        resume=worker.resume,
        labels=tuple(node.info.labels.items()) if node else (),
    )
