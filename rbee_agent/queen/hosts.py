"""The hosts that the queen reaches by SSH: her list, her key, the way to each hive and worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rbee_agent.contracts.hosts import HostInfo, HostRegistration, LinkState, QueenKey
from rbee_agent.contracts.nodes import NodeRegistration
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.errors import NotFound
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.links import Links
from rbee_agent.runtime.clock import Clock
from rbee_agent.ssh.own_key import OwnKey, own_key
from rbee_agent.ssh.tunnels import Tunnels, Way
from rbee_agent.store.base import Store

KIND = "host"
_LEVELS: dict[LinkState, Literal["info", "warning", "error"]] = {
    "down": "warning",
    "refused": "error",
}


@dataclass(slots=True)
class _Host:
    registration: HostRegistration
    since: float


class Hosts:
    """Owner of the list of hosts and of their tunnels; what the hives tell goes to the registry."""

    def __init__(self, store: Store, links: Links, feed: Feed, clock: Clock, state: Path) -> None:
        self._store = store
        self._links = links
        self._feed = feed
        self._clock = clock
        self._state = state
        self._all: dict[str, _Host] = {}
        self._by_node: dict[str, str] = {}
        self._own: OwnKey | None = None
        self.listen: str | None = None
        """Where hives send heartbeats; None: nowhere."""
        self.certificate: str | None = None
        """What they are shown there."""
        self._tunnels: Tunnels | None = None
        self._group: asyncio.TaskGroup | None = None
        links.reach = self.reach
        links.far = self.distance

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Connect to every host that was registered before."""
        self._group = group
        for value in (await self._store.documents(KIND)).values():
            await self._open(HostRegistration.read_json(value))

    async def key(self) -> QueenKey:
        """The public half of the key that the queen shows to hosts."""
        own = await self._own_key()
        return QueenKey(
            id=own.id,
            public_key=own.public,
            listen=self.listen,
            certificate=self.certificate,
        )

    async def add(self, registration: HostRegistration) -> None:
        """Know a host from now on, durably; one that is known already changes its way."""
        await self._store.put(KIND, registration.name, registration.dump_json())
        await self._open(registration)

    async def remove(self, name: str) -> None:
        """Forget a host and its hive; what runs there goes on.

        Raises:
            NotFound: there is none of that name.
        """
        host = self._all.pop(name, None)
        if host is None:
            raise NotFound(f"no host {name}; GET /v2/hosts lists them")
        await self._store.delete(KIND, name)
        self._by_node.pop(host.registration.node_id, None)
        await self._links.forget(host.registration.node_id)
        if self._tunnels is not None:
            self._tunnels.remove(name)

    def info(self, name: str) -> HostInfo:
        """One host, without its token.

        Raises:
            NotFound: there is none of that name.
        """
        host = self._all.get(name)
        if host is None:
            raise NotFound(f"no host {name}; GET /v2/hosts lists them")
        return self._info(host)

    def infos(self) -> list[HostInfo]:
        """Every host, without its token."""
        return [self._info(host) for host in self._all.values()]

    def reach(self, node_id: str, info: WorkerInfo) -> WorkerInfo:
        """A worker with the address by which the queen gets to it."""
        name = self._by_node.get(node_id)
        tunnel = self._tunnels.get(name) if name is not None and self._tunnels is not None else None
        if tunnel is None or info.url is None:
            return info
        port = urlsplit(info.url).port
        if port is None:
            return info
        return info.model_copy(update={"url": f"http://127.0.0.1:{tunnel.forward(port)}"})

    def distance(self, node_id: str) -> float:
        """Seconds to a node and back; 0 where that is not known now."""
        name = self._by_node.get(node_id)
        tunnel = self._tunnels.get(name) if name is not None and self._tunnels is not None else None
        return tunnel.round_trip() if tunnel is not None else self._links.distance(node_id)

    def close(self) -> None:
        """End all connections."""
        if self._tunnels is not None:
            self._tunnels.close()

    async def _open(self, registration: HostRegistration) -> None:
        tunnels = await self._started()
        self._all[registration.name] = _Host(registration, self._clock.utc())
        self._by_node[registration.node_id] = registration.name
        tunnel = tunnels.add(registration.name, Way(registration.hop, tuple(registration.jumps)))
        self._links.attach(
            NodeRegistration(
                node_id=registration.node_id,
                url=f"http://127.0.0.1:{tunnel.forward(registration.hive_port)}",
                token=registration.hive_token,
                hostname=registration.name,
                labels=registration.labels,
                region=registration.region,
            )
        )

    async def _started(self) -> Tunnels:
        assert self._group is not None  # noqa: S101 - started before anything is added
        if self._tunnels is None:
            own = await self._own_key()
            self._tunnels = Tunnels(own.path, self._told)
            self._tunnels.start(self._group)
        return self._tunnels

    async def _own_key(self) -> OwnKey:
        if self._own is None:
            self._own = await asyncio.to_thread(own_key, self._state)
        return self._own

    def _told(self, name: str, state: LinkState, reason: str | None) -> None:
        host = self._all.get(name)
        if host is None:
            return
        host.since = self._clock.utc()
        words = f"SSH to {name} is {state}" + (f": {reason}" if reason else "")
        self._feed.narrate(
            words, level=_LEVELS.get(state, "info"), noun="node", id=host.registration.node_id
        )

    def _info(self, host: _Host) -> HostInfo:
        registration = host.registration
        tunnel = self._tunnels.get(registration.name) if self._tunnels is not None else None
        return HostInfo(
            name=registration.name,
            address=registration.hop.address,
            port=registration.hop.port,
            user=registration.hop.user,
            host_key=registration.hop.host_key,
            jumps=[f"{jump.user}@{jump.address}:{jump.port}" for jump in registration.jumps],
            node_id=registration.node_id,
            labels=registration.labels,
            region=registration.region,
            state=tunnel.state if tunnel is not None else "connecting",
            reason=tunnel.reason if tunnel is not None else None,
            since=host.since,
        )
