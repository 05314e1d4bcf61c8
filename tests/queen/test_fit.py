"""Where a new worker goes: free memory, the file, the named host; idle ones make room."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import GgufFacts
from rbee_agent.contracts.nodes import NodeInfo, NodeRegistration, NodeState
from rbee_agent.contracts.pools import Deployment
from rbee_agent.errors import Unavailable
from rbee_agent.queen.fit import Idle, choose_node, memory_need
from rbee_agent.queen.fleet import Node
from rbee_agent.testing.hive import model_file

MIB = 2**20


def node(name, free, *, models=(), backend="cpu", state=NodeState.ONLINE, reserved=0) -> Node:
    device = Device(
        id="cpu" if backend == "cpu" else f"{backend}:0",
        backend=backend,
        name="d",
        memory_total=free,
        memory_used=0,
        memory_free=free,
        memory_reserved=reserved,
    )
    info = NodeInfo(id=name, state=state)
    made = Node(NodeRegistration(node_id=name, url="http://x"), info, state=state)
    made.devices = [device]
    made.models = {model: model_file(model) for model in models}
    return made


def wish(**fields) -> Deployment:
    return Deployment(id="d", model="m", **fields)


def test_a_host_with_the_file_is_preferred():
    """Nothing is downloaded where the file lies on a host with room."""
    choice = choose_node(wish(), [node("a", 900), node("b", 800, models=["m"])], 500)
    assert choice.node.id == "b"


def test_among_equals_the_emptiest():
    """The most free memory wins; the hive has taken its leases off already."""
    nodes = [node("a", 700, reserved=500), node("b", 800, reserved=700)]
    assert choose_node(wish(), nodes, 600).node.id == "b"


def test_idle_workers_go_only_when_they_must():
    """A host with room is taken before anybody is ended; else the first idle ones go."""
    idle = [Idle("w1", "a", "cpu", 300), Idle("w2", "a", "cpu", 300)]
    assert choose_node(wish(), [node("a", 100), node("b", 500)], 400, idle).evict == []
    assert choose_node(wish(), [node("a", 100)], 400, idle).evict == ["w1"]
    assert choose_node(wish(), [node("a", 100)], 600, idle).evict == ["w1", "w2"]


def test_what_does_not_fit_names_both_numbers():
    """Need and free stand in the refusal."""
    with pytest.raises(Unavailable, match=r"needs about 900 MiB.*free is 100 MiB") as caught:
        choose_node(wish(), [node("a", 100 * MIB)], 900 * MIB)
    assert caught.value.code == "INSUFFICIENT_VRAM"


def test_a_backend_that_nobody_has_names_what_there_is():
    """Asked for cuda, the queen never takes the CPU silently."""
    with pytest.raises(Unavailable, match="no host has cuda; there is cpu") as caught:
        choose_node(wish(backend="cuda"), [node("a", 900)], 1)
    assert caught.value.code == "BACKEND_UNAVAILABLE"


@pytest.mark.parametrize("named", [None, "a"])
def test_nobody_there(named):
    """No host online, or not the named one."""
    with pytest.raises(Unavailable, match="online"):
        choose_node(wish(node_id=named), [node("a", 900, state=NodeState.OFFLINE)], 1)


def test_the_estimate_grows_with_context_and_slots_and_is_corrected():
    """KV memory follows context times slots; measured peaks scale the whole."""
    facts = GgufFacts(
        architecture="llama",
        size=100 * MIB,
        tensor_bytes=100 * MIB,
        layers=10,
        heads=8,
        heads_kv=8,
        key_length=64,
        value_length=64,
        context_length=8192,
    )
    small = memory_need(wish(context=1024, slots=1), facts)
    large = memory_need(wish(context=1024, slots=8), facts)
    kv = 10 * 1024 * 8 * 128 * 2
    assert large - small >= 7 * kv
    assert memory_need(wish(context=1024, slots=1), facts, 1.5) == round(small * 1.5)
    assert memory_need(wish(), None) == 0
