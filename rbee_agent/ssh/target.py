"""What to dial: an operator's host, or the queen's own record of one."""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.contracts.hosts import Hop


@dataclass(frozen=True, slots=True)
class Target:
    """A host as a person names it; what is None comes from ~/.ssh/config, then from SSH's defaults.

    `name` may be an alias of ~/.ssh/config; `jump` is spelled as ProxyJump is.
    """

    name: str
    address: str | None = None
    port: int | None = None
    user: str | None = None
    jump: str | None = None
    host_key: str | None = None
    identity: str | None = None
    """A private key file, beside the agent's and the usual ones."""

    @property
    def dialled(self) -> str:
        """What is looked up in ~/.ssh/config, and in the name service behind it."""
        return self.address or self.name


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a target's connection really goes, after ~/.ssh/config was read."""

    address: str
    port: int
    user: str
    jump: str | None

    def __str__(self) -> str:
        return f"{self.user}@{self.address}:{self.port}"


def split_jump(jump: str) -> list[tuple[str, str | None, int | None]]:
    """The hops of a ProxyJump: host, user and port of each; a port that is no number stays off."""
    found: list[tuple[str, str | None, int | None]] = []
    for part in jump.split(","):
        user, at, rest = part.strip().rpartition("@")
        host, colon, port = rest.rpartition(":")
        numbered = bool(colon) and port.isdigit()
        found.append(
            (host if numbered else rest, user if at else None, int(port) if numbered else None)
        )
    return found


def of_hop(hop: Hop, identity: str | None = None, *, name: str | None = None) -> Target:
    """The target of one hop of the queen's records; `name` is what a person calls it."""
    return Target(
        name=name or hop.address,
        address=hop.address,
        port=hop.port,
        user=hop.user,
        host_key=hop.host_key,
        identity=identity,
    )
