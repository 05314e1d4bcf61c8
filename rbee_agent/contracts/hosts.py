"""Hosts that the queen reaches by SSH: ``POST|GET|DELETE /v2/hosts``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.routes import HIVE_PORT


class Hop(Contract):
    """One SSH server on the way, with the only host key that it may show."""

    address: str
    port: int = Field(22, ge=1, le=65535)
    user: str
    host_key: str
    """OpenSSH public key line, ``ssh-ed25519 AAAA…``; several are separated by newlines."""


class HostRegistration(Contract):
    """What the queen must know to reach one host's hive."""

    name: str
    """What the operator calls it."""
    hop: Hop
    jumps: list[Hop] = []
    """In the order in which they are passed."""
    node_id: str
    hive_port: int = Field(HIVE_PORT, ge=1, le=65535)
    hive_token: str
    """The hive's bearer token; kept 0600 by the queen, never shown."""
    labels: dict[str, str] = {}
    region: str | None = None


LinkState = Literal["connecting", "up", "down", "refused"]
"""Refused: coming back would not help (key refused, host key changed); somebody must act."""


class HostInfo(Contract):
    """One host as the queen shows it: no token."""

    name: str
    address: str
    port: int
    user: str
    host_key: str
    jumps: list[str] = []
    node_id: str
    labels: dict[str, str] = {}
    region: str | None = None
    state: LinkState = "connecting"
    reason: str | None = None
    since: float | None = None
    """Unix seconds of the last change of state."""


class QueenKey(Contract):
    """``GET /v2/hosts/key``: the public half of the key that the queen shows to hosts."""

    id: str
    public_key: str
    listen: str | None = None
    """Where hives send their heartbeats, as an https address; None: she listens to none."""
    certificate: str | None = None
    """SHA-256, in hex, of the certificate that she shows there."""
