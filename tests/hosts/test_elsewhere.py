"""A queen on a control node: installed and started over SSH, used as if she ran here."""

from __future__ import annotations

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet

pytestmark = [pytest.mark.root, pytest.mark.model, pytest.mark.slow]


def test_a_queen_on_a_control_node(
    keeper: LiveFleet, make_host, operator_of, until, demo_model
) -> None:
    """The keeper's commands reach her through a tunnel, and she reaches a hive of her own."""
    hub, leaf = make_host("hub"), make_host("leaf")
    for host in (hub, leaf):
        operator_of(keeper, host)
        keeper.ok("hive", "add", host.name, "--address", host.address, "--user", "ada", "--yes")
    before = hub.listing()
    keeper.ok("queen", "install", "--host", "hub", "--offline")
    keeper.ok("queen", "start", "--host", "hub")
    status = keeper.document("queen", "status", "--host", "hub")
    assert (status["running"], status["linked"]) == (True, True)
    keeper.ok("hive", "install", "leaf", "--offline")
    leaf.give_model(demo_model)
    keeper.ok("pool", "models", "register", MODEL, "/home/ada/model.gguf", "--host", "leaf")
    spawn = ("pool", "worker", "spawn", "cpu", "--host", "leaf", "--model", MODEL)
    keeper.ok(*spawn, "--ctx", "512", "--slots", "1")
    words = ("infer", "-m", MODEL, "-p", "One, two,", "--temperature", "0", "--seed", "1")
    text = keeper.ok(*words, "--max-tokens", "8")
    assert text.strip()
    hub.link(up=False)
    assert keeper.rbee("ps", timeout=60).returncode == 5
    hub.link(up=True)
    until(lambda: keeper.rbee("ps").returncode == 0, 30.0)
    assert keeper.ok(*words, "--max-tokens", "8") == text
    keeper.ok("hive", "uninstall", "leaf", "--yes")
    keeper.ok("queen", "uninstall", "--host", "hub", "--yes")
    assert hub.listing() == before
    assert keeper.rbee("ps").returncode == 5
