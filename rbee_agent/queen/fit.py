"""Where a new worker fits: a pure function over the hosts' devices and their idle workers.

The queen plans with the estimate that the model's file allows, corrected by what workers of the
model really took; the hive, who sees foreign processes, has the last word when it grants a lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import GgufFacts
from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.pools import Deployment
from rbee_agent.errors import Unavailable
from rbee_agent.models.estimate import estimate
from rbee_agent.queen.fleet import Node

DEFAULT_CONTEXT = 4096
DEFAULT_SLOTS = 4
"""What a hive gives a worker that is not asked for more; only for planning."""


@dataclass(frozen=True, slots=True)
class Idle:
    """An on-demand worker that has nothing to do and may be ended."""

    worker_id: str
    node_id: str
    device: str
    memory: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A host for a new worker, and the idle workers that must go first."""

    node: Node
    device: str | None
    need: int
    evict: list[str] = field(default_factory=list)


def memory_need(wish: Deployment, facts: GgufFacts | None, correction: float = 1.0) -> int:
    """Bytes that one worker of the wish takes; 0 while nothing is known of the model.

    Args:
        wish: what is wished for.
        facts: of the model's file.
        correction: measured peak over estimate of earlier workers of the model.
    """
    if facts is None:
        return 0
    longest = facts.context_length or DEFAULT_CONTEXT
    guess = estimate(
        facts,
        context=wish.context or min(longest, DEFAULT_CONTEXT),
        slots=wish.slots or DEFAULT_SLOTS,
        kv_type=wish.extra.get("kv-type", "f16"),
    )
    return round(guess.total * correction)


def choose_node(
    wish: Deployment, nodes: Iterable[Node], need: int, idle: Sequence[Idle] = ()
) -> Choice:
    """The best host for one worker more.

    Prefers a host where nobody must go, then one that has the file, then the most free memory.

    Args:
        wish: what is wished for.
        nodes: every host.
        need: bytes that the worker takes.
        idle: workers that may be ended, in the order in which they should go.

    Raises:
        Unavailable: no host is online, or none has the backend or the memory; names the numbers.
    """
    able = _able(wish, list(nodes))
    choices = [choice for node in able for choice in _on_node(wish, node, need, idle)]
    if not choices:
        most = max(device.memory_free for node in able for device in _devices(node, wish))
        raise Unavailable(
            f"{wish.model} needs about {need / 2**20:.0f} MiB, the most that a device has free is "
            f"{most / 2**20:.0f} MiB, and ending idle workers would not make enough room",
            code="INSUFFICIENT_VRAM",
            retry_after_ms=10_000,
        )
    return min(
        choices,
        key=lambda c: (
            len(c.evict),
            wish.model not in c.node.models,
            -max(device.memory_free for device in _devices(c.node, wish)),
            c.node.id,
        ),
    )


def _able(wish: Deployment, nodes: list[Node]) -> list[Node]:
    """Hosts that are there, and have what the wish names."""
    there = [
        node
        for node in nodes
        if node.state is NodeState.ONLINE
        and not node.draining
        and node.devices
        and wish.node_id in (None, node.id)
    ]
    if not there:
        named = f"host {wish.node_id} is not online" if wish.node_id else "no host is online"
        raise Unavailable(named, code="POOL_UNAVAILABLE", retry_after_ms=5000)
    able = [node for node in there if _devices(node, wish)]
    if not able:
        have = sorted({device.backend for node in there for device in node.devices})
        raise Unavailable(
            f"no host has {wish.device or wish.backend}; there is {', '.join(have)}",
            code="BACKEND_UNAVAILABLE",
        )
    return able


def _on_node(wish: Deployment, node: Node, need: int, idle: Sequence[Idle]) -> list[Choice]:
    """How the worker would fit on each device of a host."""
    choices = []
    for device in _devices(node, wish):
        room, gone = device.memory_free, []
        for worker in idle:
            if room >= need:
                break
            if worker.node_id == node.id and worker.device == device.id:
                room += worker.memory
                gone.append(worker.worker_id)
        if room >= need:
            choices.append(Choice(node, wish.device, need, gone))
    return choices


def _devices(node: Node, wish: Deployment) -> list[Device]:
    return [device for device in node.devices if _fits(device, wish)]


def _fits(device: Device, wish: Deployment) -> bool:
    if wish.device is not None:
        return wish.device in (device.id, device.uuid, device.backend)
    return wish.backend is None or device.backend == wish.backend
