"""The queen's key: made once, kept secret, let in for forwarding alone."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from rbee_agent.contracts.hosts import Hop
from rbee_agent.errors import Refused
from rbee_agent.ssh.dial import resolve
from rbee_agent.ssh.own_key import agent_ports, hive_line, jump_line, own_key
from rbee_agent.ssh.public_key import parse
from rbee_agent.ssh.target import Target, of_hop, split_jump


def test_the_key_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    """A second look finds the same key; a file that others may read is refused."""
    first = own_key(tmp_path)
    assert own_key(tmp_path) == first
    assert first.path.stat().st_mode & 0o777 == 0o600
    first.path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        own_key(tmp_path)


def test_the_line_allows_the_agents_ports_and_nothing_else(tmp_path: Path) -> None:
    """As sshd's format is read: no terminal, no command of the caller's, these ports alone."""
    key = own_key(tmp_path)
    line = hive_line(key.public, key.comment, agent_ports(9200))
    entry = asyncssh.import_authorized_keys(line + "\n")
    found = entry.validate(asyncssh.import_public_key(key.public), "queen", "10.0.0.1", "h")
    options = found if isinstance(found, dict) else found[0]
    assert options["command"] == "/bin/false"
    assert ("127.0.0.1", 9200) in options["permitopen"]
    assert len(options["permitopen"]) == 65
    assert line.startswith("restrict,port-forwarding,")
    assert len(line) < 8192  # sshd's limit before OpenSSH 8.6
    assert 'permitopen="[fe80::1]:22"' in jump_line(key.public, "c", "fe80::1", 22)


def test_ssh_config_counts_for_people_and_not_for_the_queen(hermetic: Path) -> None:
    """An alias takes address, port, user and jump from ~/.ssh/config; flags win over it."""
    folder = hermetic / ".ssh"
    folder.mkdir()
    (folder / "config").write_text(
        "Host attic\n  HostName 10.9.8.7\n  Port 2222\n  User ada\n  ProxyJump bob@gate:23\n"
    )
    assert str(resolve(Target("attic"))) == "ada@10.9.8.7:2222"
    assert resolve(Target("attic")).jump == "bob@gate:23"
    assert str(resolve(Target("attic", port=22, user="eve"))) == "eve@10.9.8.7:22"
    hop = Hop(address="10.1.1.1", user="q", host_key="k")
    assert of_hop(hop, "/key").identity == "/key"


def test_a_jump_is_read_as_ssh_reads_it() -> None:
    """Several hops, users and ports, and an address of IPv6 whose last group is no port."""
    assert split_jump("a@b:22,c") == [("b", "a", 22), ("c", None, None)]


def test_a_pin_that_is_no_key_is_refused() -> None:
    """The sentence says what is wrong with it."""
    with pytest.raises(Refused, match="no OpenSSH public key"):
        parse("ssh-ed25519 nonsense")
