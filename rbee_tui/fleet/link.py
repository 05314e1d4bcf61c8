"""Letting the queen reach a host: her key there, and the host in her list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rbee_agent.contracts.hosts import Hop, HostRegistration, QueenKey
from rbee_agent.contracts.nodes import NodeRegistration
from rbee_agent.errors import NotFound, RbeeError, Refused
from rbee_agent.ssh import host_key, own_key
from rbee_agent.ssh.dial import resolve
from rbee_agent.ssh.public_key import line_of
from rbee_agent.ssh.shell import Shell
from rbee_agent.ssh.target import Target, split_jump
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.remote import Remote

if TYPE_CHECKING:
    from rbee_agent.client.queen import QueenClient


async def introduce(queen: QueenClient, remote: Remote, record: dict[str, Any]) -> str:
    """Have the queen reach the hive that `record` tells of; returns its node id.

    Raises:
        RbeeError: the queen, the host or a host on the way refused; says which.
    """
    host = remote.host
    if record.get("certificate"):
        return await _by_its_port(queen, remote, record)
    key = await queen.queen_key()
    comment = f"rbee-queen-{key.id}"
    ports = own_key.agent_ports(host.hive_port)
    remote.tell("letting the queen in")
    await remote.allow_key(own_key.hive_line(key.public_key, comment, ports))
    end = await hop_of(host.target)
    jumps = await _open_jumps(host, key, comment, end, remote)
    registration = HostRegistration(
        name=host.name,
        hop=end,
        jumps=jumps,
        node_id=str(record["node_id"]),
        hive_port=int(str(record["url"]).rsplit(":", 1)[-1]),
        hive_token=str(record["token"]),
        labels=host.labels,
        region=host.region,
    )
    remote.tell("telling the queen")
    await queen.add_host(registration)
    return registration.node_id


async def _by_its_port(queen: QueenClient, remote: Remote, record: dict[str, Any]) -> str:
    """Tell the queen of a hive that listens, with the certificate that was seen over SSH."""
    host = remote.host
    if any(known.name == host.name for known in await queen.hosts()):
        await forget(queen, remote)
    remote.tell("telling the queen")
    node_id = str(record["node_id"])
    await queen.register_node(
        NodeRegistration(
            node_id=node_id,
            url=str(record["queen_url"]),
            token=str(record["token"]),
            certificate=str(record["certificate"]),
            hostname=host.name,
            version=record.get("version"),
            labels=host.labels,
            region=host.region,
        )
    )
    return node_id


async def remove(queen: QueenClient, host: Host) -> bool:
    """Take a host off the queen's list, however she reaches it; whether she knew it."""
    try:
        await queen.remove_host(host.name)
    except NotFound:
        if host.node_id is None:
            return False
        try:
            await queen.remove_node(host.node_id)
        except NotFound:
            return False
    return True


async def forget(queen: QueenClient, remote: Remote) -> None:
    """Take the queen's key off the host, and the host off her list."""
    key = await queen.queen_key()
    if not await remove(queen, remote.host):
        remote.tell("the queen did not know it", lasting=True)
    comment = f"rbee-queen-{key.id}"
    await remote.forbid_key(comment)
    for passing, before in _on_the_way(remote.host):
        try:
            async with await Shell.open(replace(passing, jump=before)) as shell:
                gate = Remote(Host(passing.name), shell, remote.tell)
                await gate.forbid_key(f"{comment}-{remote.host.name}")
        except RbeeError as error:
            # The host itself is rid of her; a line that leads to it alone does no more.
            remote.tell(f"the queen's line stays on {passing.name}: {error.message}", lasting=True)


async def hop_of(target: Target) -> Hop:
    """Where a target's SSH server is, with its key: pinned, or known to this user.

    Raises:
        Refused: the key is not known.
    """
    where = resolve(target)
    pinned = target.host_key or "\n".join(line_of(key) for key in host_key.known_keys(where))
    if not pinned:
        raise Refused(
            f"{target.name} ({where}) is not in known_hosts: log in there once with ssh",
            code="FORBIDDEN",
        )
    return Hop(address=where.address, port=where.port, user=where.user, host_key=pinned)


def jump_targets(host: Host) -> list[Target]:
    """The hosts on the way to a host, in order."""
    jump = resolve(host.target).jump
    if not jump:
        return []
    return [Target(name, name, port, user) for name, user, port in split_jump(jump)]


def _on_the_way(host: Host) -> list[tuple[Target, str | None]]:
    """Each host on the way, with the jump by which it is reached itself."""
    found: list[tuple[Target, str | None]] = []
    for target in jump_targets(host):
        where = [resolve(each) for each, _ in found]
        before = ",".join(f"{hop.user}@{hop.address}:{hop.port}" for hop in where)
        found.append((target, before or None))
    return found


async def _open_jumps(
    host: Host, key: QueenKey, comment: str, end: Hop, remote: Remote
) -> list[Hop]:
    """Let the queen pass every host on the way, each to the next one alone."""
    way = _on_the_way(host)
    hops = [await hop_of(target) for target, _ in way]
    for number, (target, before) in enumerate(way):
        following = hops[number + 1] if number + 1 < len(hops) else end
        tag = f"{comment}-{host.name}"
        line = own_key.jump_line(key.public_key, tag, following.address, following.port)
        through = replace(target, jump=before)
        remote.tell(f"letting the queen pass {target.name}")
        try:
            async with await Shell.open(through) as shell:
                passing = Remote(Host(target.name), shell, remote.tell)
                await passing.allow_key(line)
        except RbeeError as error:
            raise RbeeError(f"{host.name}: on the way: {error.message}", code=error.code) from error
    return hops
