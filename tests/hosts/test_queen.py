"""Two hosts that the queen reaches by SSH alone: from nothing to tokens, and what is open there."""

from __future__ import annotations

import asyncssh
import pytest

from rbee_agent.ssh.connect import connect
from rbee_agent.ssh.target import Target
from tests.hosts.duo import Duo

pytestmark = [pytest.mark.root, pytest.mark.model, pytest.mark.timeout(300)]


def test_two_commands_from_a_bare_host_to_tokens(duo: Duo) -> None:
    """`hive add --install` and `worker spawn`: package index, model and worker are its own work."""
    print("\nfrom a bare host to its first token:")
    for words, seconds in duo.steps:
        print(f"  {seconds:5.1f} s  {words}")
    commands = [words for words, _ in duo.steps if not words.startswith("infer")]
    assert [words.split()[:2] for words in commands] == [["hive", "add"], ["worker", "spawn"]]
    models = duo.home_file(duo.right, ".local/share/rbee/models.json")
    assert "/home/ada/.cache/rbee/models/" in models, "the second host has pulled it itself"
    assert duo.states() == {"left": "online", "right": "online"}


def test_no_agent_listens_beyond_loopback(duo: Duo) -> None:
    """Nothing but sshd can be reached from the network."""
    for host in duo.hosts:
        listening = host.sh("cat /proc/net/tcp /proc/net/tcp6")
        ports = [
            line.split()[1]
            for line in listening.splitlines()
            if " 0A " in line and not line.split()[1].endswith(":0016")
        ]
        assert ports
        assert all(port.startswith("0100007F:") for port in ports), ports


async def test_the_queens_key_opens_the_agents_ports_alone(duo: Duo) -> None:
    """With her key: no command, no file transfer, no other port; the hive's port answers."""
    host = duo.left
    key = duo.keeper.root / ".local/state/rbee/ssh/id_ed25519"
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


def test_the_list_of_hosts_shows_no_secret(duo: Duo) -> None:
    """GET /v2/hosts: each host with its pinned key and state; no token of any hive."""
    answer = duo.ask_queen("/v2/hosts")
    shown = {each["name"]: each for each in answer.json()["hosts"]}
    assert {name: each["state"] for name, each in shown.items()} == {"left": "up", "right": "up"}
    for host in duo.hosts:
        assert shown[host.name]["host_key"] == host.host_key
        assert duo.home_file(host, ".local/state/rbee/hive.token").strip() not in answer.text
