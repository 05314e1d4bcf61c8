"""A device's memory by use: weights, KV cache, buffers, other processes, and what is planned.

A worker says how much it holds in all; how that splits comes from its model's file, by the same
estimate that the hive grants memory with.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.nodes import NodeInfo
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.models.estimate import estimate
from rbee_tui.state.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Block:
    """One use of a device's memory, and how it is drawn."""

    name: str
    size: int
    """Bytes."""
    glyph: str
    tone: str


@dataclass(frozen=True, slots=True)
class Split:
    """A worker's bytes by use; all in `weights` where its model's file is not known."""

    weights: int = 0
    kv: int = 0
    buffers: int = 0


def split(fleet: Fleet, worker: WorkerInfo) -> Split:
    """How a worker's memory splits, in proportion to the estimate."""
    held = fleet.memory_bytes(worker)
    model = fleet.models.get(worker.model)
    facts = model.facts if model is not None else None
    if not held:
        return Split()
    if facts is None or not facts.heads_kv or not worker.slots:
        return Split(weights=held)
    guess = estimate(facts, context=max(1, worker.context), slots=worker.slots)
    weights = held * guess.weights // guess.total
    kv = held * guess.kv // guess.total
    return Split(weights, kv, held - weights - kv)


def device_blocks(fleet: Fleet, node: NodeInfo, device: Device) -> list[Block]:
    """The blocks of one device in the order in which they are drawn.

    Sums to what the device says is used, plus what is reserved for loads on their way.
    """
    here = [w for w in fleet.workers.values() if w.node_id == node.id and w.device == device.id]
    splits = [split(fleet, worker) for worker in here]
    ours = sum(s.weights + s.kv + s.buffers for s in splits)
    share = min(1.0, device.memory_used / ours) if ours else 0.0
    weights = int(share * sum(s.weights for s in splits))
    kv = int(share * sum(s.kv for s in splits))
    buffers = int(share * sum(s.buffers for s in splits))
    others = max(0, device.memory_used - weights - kv - buffers)
    return [
        Block("weights", weights, "█", "ok"),
        Block("KV cache", kv, "▆", "accent"),
        Block("buffers", buffers, "▃", "busy"),
        Block("other processes", others, "▓", "warn"),
        Block("planned, not taken yet", device.memory_reserved, "▒", "busy"),
    ]
