"""The queen and hosts that she reaches by SSH alone: tokens, cuts, restarts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from rbee_agent.ssh.connect import connect
from rbee_agent.ssh.target import Target
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


async def test_the_queens_key_opens_the_agents_ports_alone(keeper: LiveFleet, pair) -> None:
    """With her key: no command, no file transfer, no other port; the hive's port answers."""
    host = pair[0]
    key = keeper.root / ".local/state/rbee/ssh/id_ed25519"
    assert key.stat().st_mode & 0o777 == 0o600
    target = Target(
        "left", address=host.address, user="ada", host_key=host.host_key, identity=str(key)
    )
    async with await connect(target, config=False) as connection:
        ran = await connection.run("id", check=False)
        assert (ran.exit_status, ran.stdout) == (1, "")
        with pytest.raises((asyncssh.Error, OSError)):
            await connection.start_sftp_client()
        for port in (22, 9100, 8065):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("", 0, "127.0.0.1", 9)
        _, writer = await connection.open_connection("127.0.0.1", 9200)
        writer.close()


def test_the_list_of_hosts_shows_no_secret(keeper: LiveFleet, pair) -> None:
    """GET /v2/hosts: each host with its pinned key and state; no token of any hive."""
    url = keeper.record("queen")["url"]
    token = (keeper.root / ".local/state/rbee/admin.token").read_text().strip()
    answer = httpx.get(f"{url}/v2/hosts", headers={"Authorization": f"Bearer {token}"})
    shown = {each["name"]: each for each in answer.json()["hosts"]}
    assert {name: each["state"] for name, each in shown.items()} == {"left": "up", "right": "up"}
    for host in pair:
        assert shown[host.name]["host_key"] == host.host_key
        secret = (host.home / ".local/state/rbee/hive.token").read_text().strip()
        assert secret not in answer.text


def test_a_cut_cable_moves_the_stream(keeper: LiveFleet, pair, until) -> None:
    """A host unplugged in mid-stream: the stream goes on elsewhere, byte for byte the same."""
    words = ["infer", "-m", MODEL, *PROMPT, "--max-tokens", "300"]
    whole = keeper.ok(*words)
    process = stream(keeper, words)
    assert process.stdout is not None
    begun = process.stdout.read(20)
    cut = host_of_the_stream(keeper, pair)
    cut.link(up=False)
    try:
        took = until(lambda: states(keeper)[cut.name] == "offline", 15.0)
        rest, err = process.communicate(timeout=90)
    finally:
        cut.link(up=True)
    assert process.returncode == 0, err
    assert begun + rest == whole
    print(f"\nthe cut host was offline after {took:.1f} s")
    back = until(lambda: states(keeper)[cut.name] == "online", 30.0)
    print(f"and back {back:.1f} s after its cable")


def test_a_killed_hive_and_a_new_sshd_harm_no_stream(
    keeper: LiveFleet, pair, until, tmp_path: Path
) -> None:
    """A killed hive comes back and adopts its worker in mid-stream; a killed sshd is outlived."""
    words = ["infer", "-m", MODEL, *PROMPT, "--max-tokens", "300"]
    whole = keeper.ok(*words)
    process = stream(keeper, words)
    assert process.stdout is not None
    begun = process.stdout.read(20)
    busy = host_of_the_stream(keeper, pair)
    workers = {w["id"]: w["pid"] for w in keeper.document("ps")["workers"]}
    pid = busy.sh("cat /home/ada/.local/state/rbee/run/hive.json").split('"pid": ')[1].split(",")[0]
    busy.sh(f"kill -9 {pid}")
    rest, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert begun + rest == whole
    until(lambda: states(keeper)[busy.name] == "online", 30.0)
    assert {w["id"]: w["pid"] for w in keeper.document("ps")["workers"]} == workers
    busy.end_sshd()
    until(lambda: states(keeper)[busy.name] != "online", 15.0)
    busy.sshd()
    took = until(lambda: states(keeper)[busy.name] == "online", 30.0)
    print(f"\nback {took:.1f} s after its sshd")
    assert {w["id"]: w["pid"] for w in keeper.document("ps")["workers"]} == workers


def test_a_killed_worker_comes_back(keeper: LiveFleet, pair, until) -> None:
    """Its hive starts it again under the same id; the queen counts it once."""
    before = {w["id"]: w for w in keeper.document("ps")["workers"]}
    nodes = keeper.document("hive", "ls")["nodes"]
    left = next(node["id"] for node in nodes if node["hostname"] == "left")
    chosen = next(w for w in before.values() if w["node_id"] == left)
    pair[0].sh(f"kill -9 {chosen['pid']}")

    def reborn() -> bool:
        now = {w["id"]: w for w in keeper.document("ps")["workers"]}
        assert set(now) == set(before)
        found = now[chosen["id"]]
        return found["state"] == "ready" and found["incarnation"] > chosen["incarnation"]

    until(reborn, 40.0)


def stream(keeper: LiveFleet, words: list[str]) -> subprocess.Popen[str]:
    """Begin ``rbee WORDS`` and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-m", "rbee_tui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=keeper.env,
    )


def host_of_the_stream(keeper: LiveFleet, pair: list[Any]) -> Any:
    """The host whose worker is busy."""
    running = [w for w in keeper.document("ps")["workers"] if w["slots_busy"]]
    names = {node["id"]: node["hostname"] for node in keeper.document("hive", "ls")["nodes"]}
    return next(host for host in pair if host.name == names[running[0]["node_id"]])


def test_a_restarted_queen_needs_no_operator(keeper: LiveFleet, pair, until) -> None:
    """Started anew with the operator's key gone, she reaches her hosts and their workers."""
    workers = {w["id"]: w["pid"] for w in keeper.document("ps")["workers"]}
    keeper.ok("queen", "stop")
    folder = keeper.root / ".ssh"
    folder.rename(keeper.root / "ssh-away")
    try:
        keeper.ok("queen", "start")
        until(lambda: set(states(keeper).values()) == {"online"}, 20.0)
        assert {w["id"]: w["pid"] for w in keeper.document("ps")["workers"]} == workers
        assert keeper.ok("infer", "-m", MODEL, *PROMPT, "--max-tokens", "4").strip()
    finally:
        (keeper.root / "ssh-away").rename(folder)
