"""Small fleets for the tests of the state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.events import FleetSnapshot, QueenInfo
from rbee_agent.contracts.nodes import NodeInfo, NodeState
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_tui.state.events import Event


@pytest.fixture
def snapshot() -> FleetSnapshot:
    """One host with one worker, at the queen's second 1000."""
    device = Device(id="cpu", backend="cpu", name="CPU", memory_total=100, memory_used=10,
                    memory_free=90)  # fmt: skip
    return FleetSnapshot(
        seq=10,
        at=1000.0,
        queen=QueenInfo(version="1", started_at=900.0, epoch="e1"),
        nodes=[
            NodeInfo(id="n1", state=NodeState.ONLINE, devices=[device], last_seen_at=998.0),
        ],
        workers=[WorkerInfo(id="w1", node_id="n1", model="m", state=WorkerState.READY, slots=2)],
    )


@pytest.fixture
def event() -> Callable[..., Event]:
    """Makes an event that came at our second 500."""

    def make(payload: object, received_at: float = 500.0) -> Event:
        return Event(payload, received_at)  # type: ignore[arg-type]

    return make
