"""Where a new worker fits: a pure function over the hosts' devices and their idle workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import GgufFacts
from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.pools import Deployment
from rbee_agent.errors import Unavailable
from rbee_agent.queen.registry import Node

UNKNOWN_BYTES = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """A host for a new worker, and the idle workers that must go first."""

    node: Node
    device: str | None
    need: int
    evict: list[str] = field(default_factory=list)


def choose_node(wish: Deployment, nodes: Iterable[Node], facts: GgufFacts | None) -> Choice:
    """The best host for one worker more.

    Prefers the named host, then one that has the file, then the most free memory.

    Raises:
        Unavailable: no host is online, or none has the backend or the memory; names the numbers.
    """
    known = list(nodes)
    there = [
        node
        for node in known
        if node.state is NodeState.ONLINE
        and not node.draining
        and node.info.devices
        and wish.node_id in (None, node.id)
    ]
    if not there:
        named = f"host {wish.node_id}" if wish.node_id else "no host"
        state = "is not online" if wish.node_id else "is online"
        raise Unavailable(f"{named} {state}", code="POOL_UNAVAILABLE", retry_after_ms=5000)
    able = [node for node in there if _has_backend(node, wish)]
    if not able:
        have = sorted({backend for node in there for backend in node.info.backends})
        raise Unavailable(
            f"no host has {wish.backend or wish.device}; there is {', '.join(have) or 'nothing'}",
            code="BACKEND_UNAVAILABLE",
        )
    need = facts.tensor_bytes or facts.size if facts is not None else UNKNOWN_BYTES
    ranked = sorted(
        able, key=lambda node: (wish.model not in node.models, -_free(node, wish), node.id)
    )
    for node in ranked:
        if _free(node, wish) >= need:
            return Choice(node, wish.device, need)
    most = max(_free(node, wish) for node in able)
    raise Unavailable(
        f"{wish.model} needs {need / 2**20:.0f} MiB, the most that a host has free is "
        f"{most / 2**20:.0f} MiB",
        code="INSUFFICIENT_VRAM",
        retry_after_ms=10_000,
    )


def _has_backend(node: Node, wish: Deployment) -> bool:
    if wish.device is not None and not any(
        wish.device in (device.id, device.uuid, device.backend) for device in node.info.devices
    ):
        return False
    return wish.backend is None or wish.backend in node.info.backends


def _free(node: Node, wish: Deployment) -> int:
    return max((_room(device) for device in node.info.devices if _fits(device, wish)), default=0)


def _room(device: Device) -> int:
    return device.memory_free - device.memory_reserved


def _fits(device: Device, wish: Deployment) -> bool:
    if wish.device is not None:
        return wish.device in (device.id, device.uuid, device.backend)
    return wish.backend is None or device.backend == wish.backend
