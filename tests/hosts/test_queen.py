"""The queen and hosts that she reaches by SSH alone: tokens, cuts, restarts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet

pytestmark = [pytest.mark.root, pytest.mark.model]

PROMPT = ("-p", "Count: one, two,", "--temperature", "0", "--seed", "7")


def states(keeper: LiveFleet) -> dict[str, str]:
    """What the queen thinks of each host."""
    return {node["hostname"]: node["state"] for node in keeper.document("hive", "ls")["nodes"]}


@pytest.fixture(scope="module")
def pair(keeper, make_host, operator_of, demo_model: Path) -> list[Any]:
    """Two hosts brought from nothing to a ready worker each; prints the steps and seconds."""
    keeper.ok("queen", "start")
    hosts = [make_host("left"), make_host("right")]
    began = time.monotonic()
    for host in hosts:
        operator_of(keeper, host)
        keeper.ok("hive", "add", host.name, "--address", host.address, "--user", "ada", "--yes")
    added = time.monotonic()
    keeper.ok("hive", "install", "--all", "--offline")
    installed = time.monotonic()
    for host in hosts:
        host.give_model(demo_model)
        # As the original spells it, on the host itself; the queen hears of it through the link.
        keeper.ok("pool", "models", "register", MODEL, host.model, "--host", host.name)
        words = ("worker", "spawn", "cpu", "--model", MODEL, "--host", host.name)
        keeper.ok(*words, "--ctx", "512", "--slots", "2", "--threads", "1")
    spawned = time.monotonic()
    keeper.ok("infer", "-m", MODEL, *PROMPT, "--max-tokens", "4")
    done = time.monotonic()
    print(
        f"\n2 hosts: hive add {added - began:.1f} s, hive install {installed - added:.1f} s, "
        f"model and worker spawn {spawned - installed:.1f} s, first tokens {done - spawned:.1f} s"
    )
    return hosts


def test_both_hosts_serve_through_ssh(keeper: LiveFleet, pair) -> None:
    """After two commands each, both hosts are online, and no agent listens beyond loopback."""
    nodes = keeper.document("hive", "ls")["nodes"]
    assert [node["state"] for node in nodes] == ["online", "online"]
    for host in pair:
        listening = host.sh("cat /proc/net/tcp /proc/net/tcp6")
        ports = [
            line.split()[1]
            for line in listening.splitlines()
            if " 0A " in line and not line.split()[1].endswith(":0016")
        ]
        assert ports
        assert all(port.startswith("0100007F:") for port in ports), ports


def test_a_cut_cable_moves_the_stream(keeper: LiveFleet, pair, until) -> None:
    """A host unplugged in mid-stream: the stream goes on elsewhere, byte for byte the same."""
    words = ["infer", "-m", MODEL, *PROMPT, "--max-tokens", "300"]
    whole = keeper.ok(*words)
    process = subprocess.Popen(
        [sys.executable, "-m", "rbee_tui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=keeper.env,
    )
    assert process.stdout is not None
    begun = process.stdout.read(20)
    running = [w for w in keeper.document("ps")["workers"] if w["slots_busy"]]
    names = {node["id"]: node["hostname"] for node in keeper.document("hive", "ls")["nodes"]}
    busy = names[running[0]["node_id"]]
    cut = next(host for host in pair if host.name == busy)
    cut.link(up=False)
    try:
        took = until(lambda: states(keeper)[busy] == "offline", 15.0)
        rest, err = process.communicate(timeout=90)
    finally:
        cut.link(up=True)
    assert process.returncode == 0, err
    assert begun + rest == whole
    print(f"\nthe cut host was offline after {took:.1f} s")
    back = until(lambda: states(keeper)[busy] == "online", 30.0)
    print(f"and back {back:.1f} s after its cable")
