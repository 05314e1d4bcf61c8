"""The queen's own key, and the one line that lets it in: forwarding to the agents' ports only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from rbee_agent.contracts.routes import WORKER_PORT_FIRST, WORKER_PORTS
from rbee_agent.runtime.files import secret_file

_NO_COMMAND = 'command="/bin/false"'
_NO_LISTENING = 'permitlisten="none.invalid:1"'
"""Forwarding is allowed in both directions or not at all; this leaves the other one nowhere to go
(OpenSSH 7.8 and later; it knows no ``none`` here)."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key pair that nobody else uses."""

    path: Path
    public: str
    """``ssh-ed25519 AAAA…``"""
    id: str
    """What marks its line in a host's authorized_keys."""

    @property
    def comment(self) -> str:
        """The comment of its line."""
        return f"rbee-queen-{self.id}"


def own_key(state: Path) -> OwnKey:
    """The key below a state folder; made (ed25519, 0600) when it is first asked for.

    Raises:
        PermissionError: others may read it, so it is no secret any more.
    """
    path = state / "ssh" / "id_ed25519"
    fresh = asyncssh.generate_private_key("ssh-ed25519", comment="rbee-queen")
    text = secret_file(path, fresh.export_private_key().decode().strip())
    public = asyncssh.import_private_key(text + "\n").export_public_key().decode()
    line = " ".join(public.split()[:2])
    return OwnKey(path, line, hashlib.sha256(line.encode()).hexdigest()[:12])


def agent_ports(hive_port: int, first: int = WORKER_PORT_FIRST) -> list[int]:
    """The loopback ports of a host that the queen may reach: the hive's and its workers'."""
    return [hive_port, *range(first, first + WORKER_PORTS)]


def hive_line(public: str, comment: str, ports: list[int]) -> str:
    """The authorized_keys line for a host: no shell, no files, forwards to these ports alone."""
    opens = ",".join(f'permitopen="127.0.0.1:{port}"' for port in ports)
    return f"restrict,port-forwarding,{_NO_LISTENING},{opens},{_NO_COMMAND} {public} {comment}"


def jump_line(public: str, comment: str, address: str, port: int) -> str:
    """The authorized_keys line for a jump host: one forward, to the next host's sshd."""
    opened = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    options = f'restrict,port-forwarding,{_NO_LISTENING},permitopen="{opened}",{_NO_COMMAND}'
    return f"{options} {public} {comment}"
