"""SSH connections that are kept alive for good, and local ports that lead through them.

One connection a host, re-established with growing patience. A local port stays the same for the
life of its host here, so whoever uses it need not know when the connection was made anew.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from rbee_agent.contracts.hosts import Hop, LinkState
from rbee_agent.errors import RbeeError
from rbee_agent.runtime.round_trip import round_trip
from rbee_agent.ssh.connect import connect
from rbee_agent.ssh.forward import LocalEnd
from rbee_agent.ssh.target import Target, of_hop

BACKOFF_FIRST_S = 0.25
BACKOFF_MOST_S = 5.0
REFUSED_S = 30.0
"""How long to wait where a host does not want us: only a person can change that."""
KEEPALIVE_S = 3.0
KEEPALIVE_COUNT = 3
DIAL_S = 5.0
OnState = Callable[[str, LinkState, str | None], None]
"""Told each change of a host's connection: name, state, reason."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a host is reached by the queen's own records: nothing else counts."""

    hop: Hop
    jumps: tuple[Hop, ...] = ()


class Tunnels:
    """All hosts' connections; their owner. `start` before anything else."""

    def __init__(self, key: Path | None, on_state: OnState) -> None:
        """Take the one key to show; None: the operator's own, with agent and ~/.ssh/config."""
        self._key = key
        self._on_state = on_state
        self._group: asyncio.TaskGroup | None = None
        self._all: dict[str, Tunnel] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        """Give the task group that owns every connection."""
        self._group = group

    def add(self, name: str, way: Way | Target) -> Tunnel:
        """Keep a host connected from now on; one that is known changes its way."""
        assert self._group is not None  # noqa: S101 - started before anything is added
        known = self._all.get(name)
        if known is not None and known.way == way:
            known.hurry()
            return known
        if known is not None:
            known.way = way
            known.redial()
            return known
        tunnel = Tunnel(name, way, self._key, self._on_state, self._group)
        self._all[name] = tunnel
        return tunnel

    def remove(self, name: str) -> None:
        """Let a host go; its local ports close."""
        tunnel = self._all.pop(name, None)
        if tunnel is not None:
            tunnel.close()

    def get(self, name: str) -> Tunnel | None:
        """A host's tunnel."""
        return self._all.get(name)

    def close(self) -> None:
        """Let all hosts go."""
        for name in list(self._all):
            self.remove(name)


class Tunnel:
    """One host: its connection when there is one, and the local ports through it."""

    def __init__(
        self,
        name: str,
        way: Way | Target,
        key: Path | None,
        on_state: OnState,
        group: asyncio.TaskGroup,
    ) -> None:
        self.name = name
        self.way = way
        self.state: LinkState = "connecting"
        self.reason: str | None = None
        self._key = key
        self._on_state = on_state
        self._group = group
        self._connections: list[asyncssh.SSHClientConnection] = []
        self._whole = False
        """Whether the last connection is the host's, not one on the way to it."""
        self._tried = asyncio.Event()
        """Set once the first attempt has ended: until then callers wait, later they do not."""
        self._hurry = asyncio.Event()
        self._listeners: dict[int, _Listener] = {}
        self._keeping = group.create_task(self._keep(), name=f"tunnel {name}")

    def forward(self, port: int) -> int:
        """The local port that leads to a loopback port of the host; made when first asked for."""
        listener = self._listeners.get(port)
        if listener is None:
            listener = self._listeners[port] = _Listener(self, port, self._group)
        return listener.local

    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """The connection; None where there is none now. Waits for the first attempt only."""
        if not self._tried.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(DIAL_S):
                    await self._tried.wait()
        return self._connections[-1] if self._whole else None

    def round_trip(self) -> float:
        """Seconds to the host and back, as the system measures them; 0 where it does not say."""
        return sum(round_trip(each.get_extra_info("socket")) for each in self._connections)

    def hurry(self) -> None:
        """Try again now rather than when patience ends."""
        self._hurry.set()

    def redial(self) -> None:
        """Drop the connection and make it anew."""
        self.hurry()
        self._abort()

    def close(self) -> None:
        """End the connection and the local ports."""
        self._keeping.cancel()
        for listener in self._listeners.values():
            listener.close()
        self._abort()

    async def _keep(self) -> None:
        wait = BACKOFF_FIRST_S
        try:
            while True:
                pause = wait
                try:
                    await self._dial()
                except RbeeError as error:
                    refused = error.code == "FORBIDDEN"
                    self._tell("refused" if refused else "down", error.message)
                    pause = REFUSED_S if refused else wait
                    wait = min(BACKOFF_MOST_S, wait * 2)
                else:
                    wait = pause = BACKOFF_FIRST_S
                    self._whole = True
                    self._tell("up", None)
                    self._tried.set()
                    await self._connections[-1].wait_closed()
                    self._tell("down", "the connection was lost")
                finally:
                    self._abort()
                    self._tried.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause * random.uniform(0.8, 1.2)):
                        await self._hurry.wait()
                self._hurry.clear()
        finally:
            self._abort()

    async def _dial(self) -> None:
        if isinstance(self.way, Target):
            connection = await connect(
                self.way,
                connect_timeout=DIAL_S,
                keepalive=KEEPALIVE_S,
                keepalive_count=KEEPALIVE_COUNT,
            )
            self._connections.append(connection)
            return
        key = None if self._key is None else str(self._key)
        through: asyncssh.SSHClientConnection | None = None
        for hop in (*self.way.jumps, self.way.hop):
            through = await connect(
                of_hop(hop, key, name=self.name if hop is self.way.hop else None),
                tunnel=through,
                connect_timeout=DIAL_S,
                keepalive=KEEPALIVE_S,
                keepalive_count=KEEPALIVE_COUNT,
                config=False,
            )
            self._connections.append(through)

    def _abort(self) -> None:
        self._whole = False
        for connection in reversed(self._connections):
            connection.abort()
        self._connections = []

    def _tell(self, state: LinkState, reason: str | None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._on_state(self.name, state, reason)


class _Listener:
    """One local port; whoever connects is led to the host's port."""

    def __init__(self, tunnel: Tunnel, port: int, group: asyncio.TaskGroup) -> None:
        self._tunnel = tunnel
        self._port = port
        self._group = group
        # Bound at once, so that the port is known without waiting; served a moment later.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._socket.setblocking(False)
        self.local: int = self._socket.getsockname()[1]
        self._serving = group.create_task(self._serve(), name=f"forward {tunnel.name}:{port}")
        self._serving.add_done_callback(lambda _: self._socket.close())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, sock=self._socket)
        try:
            await server.serve_forever()
        finally:
            server.close()

    def _accept(self) -> LocalEnd:
        end = LocalEnd()
        self._group.create_task(self._join(end))
        return end

    async def _join(self, end: LocalEnd) -> None:
        """Open the far end; where that cannot be, hang up at once."""
        connection = await self._tunnel.connection()
        if connection is None:
            end.abort()
            return
        try:
            async with asyncio.timeout(DIAL_S):
                await connection.create_connection(end.far, "127.0.0.1", self._port)
        except (OSError, asyncssh.Error, TimeoutError):
            end.abort()

    def close(self) -> None:
        """Accept nobody any more."""
        self._serving.cancel()
