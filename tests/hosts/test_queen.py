"""The queen and hosts that she reaches by SSH alone: tokens, cuts, restarts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet

pytestmark = [pytest.mark.root, pytest.mark.model]

PROMPT = ("-p", "Count: one, two,", "--temperature", "0", "--seed", "7")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, wheel_store):
    """A keeper with a queen and no hive of its own."""
    root = tmp_path_factory.mktemp("keeper")
    made = LiveFleet(root)
    (root / ".cache/rbee").mkdir(parents=True)
    (root / ".cache/rbee/wheels").symlink_to(wheel_store.folder)
    yield made
    made.end()


def operator(fleet: LiveFleet, host: Any) -> None:
    """Let the keeper's key in."""
    folder = fleet.root / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    host.authorize(key.with_suffix(".pub").read_text().strip())


def give_model(fleet: LiveFleet, host: Any, model: Path) -> None:
    """Put the model onto a host's disk and register it there, as the original spells it."""
    shutil.copyfile(model, host.home / "model.gguf")
    (host.home / "model.gguf").chmod(0o644)
    path = "/home/ada/model.gguf"
    fleet.ok("pool", "models", "register", MODEL, path, "--host", host.address)


def states(fleet: LiveFleet) -> dict[str, str]:
    """What the queen thinks of each host."""
    return {node["hostname"]: node["state"] for node in fleet.document("hive", "ls")["nodes"]}


def until(what: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true; how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def pair(fleet, make_host, demo_model: Path) -> list[Any]:
    """Two hosts brought from nothing to a ready worker each; prints the steps and seconds."""
    fleet.ok("queen", "start")
    hosts = [make_host("left"), make_host("right")]
    for host in hosts:
        operator(fleet, host)
        began = time.monotonic()
        fleet.ok("hive", "add", f"ada@{host.address}", "--install", "--offline", "--yes")
        added = time.monotonic() - began
        give_model(fleet, host, demo_model)
        spawned = time.monotonic()
        words = ("worker", "spawn", "cpu", "--model", MODEL, "--host", host.address)
        fleet.ok(*words, "--ctx", "512", "--slots", "2", "--threads", "1")
        first = time.monotonic()
        fleet.ok("infer", "-m", MODEL, *PROMPT, "--max-tokens", "4")
        done = time.monotonic()
        print(
            f"\nhive add --install {added:.1f} s, worker spawn {first - spawned:.1f} s, "
            f"first tokens {done - first:.1f} s"
        )
    return hosts


def test_both_hosts_serve_through_ssh(fleet: LiveFleet, pair) -> None:
    """After two commands each, both hosts are online, and no agent listens beyond loopback."""
    nodes = fleet.document("hive", "ls")["nodes"]
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


def test_a_cut_cable_moves_the_stream(fleet: LiveFleet, pair, tmp_path: Path) -> None:
    """A host unplugged in mid-stream: the stream goes on elsewhere, byte for byte the same."""
    words = ["infer", "-m", MODEL, *PROMPT, "--max-tokens", "300"]
    whole = fleet.ok(*words)
    process = subprocess.Popen(
        [sys.executable, "-m", "rbee_tui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=fleet.env,
    )
    assert process.stdout is not None
    begun = process.stdout.read(20)
    running = [w for w in fleet.document("ps")["workers"] if w["slots_busy"]]
    names = {node["id"]: node["hostname"] for node in fleet.document("hive", "ls")["nodes"]}
    busy = names[running[0]["node_id"]]
    cut = next(host for host in pair if host.name == busy)
    cut.link(up=False)
    try:
        took = until(lambda: states(fleet)[busy] == "offline", 15.0)
        rest, err = process.communicate(timeout=90)
    finally:
        cut.link(up=True)
    assert process.returncode == 0, err
    assert begun + rest == whole
    print(f"\nthe cut host was offline after {took:.1f} s")
    back = until(lambda: states(fleet)[busy] == "online", 30.0)
    print(f"and back {back:.1f} s after its cable")
