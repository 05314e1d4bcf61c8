"""Tunnels: bytes, pressure, cuts and refusals, over a real SSH protocol on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rbee_agent.contracts.hosts import LinkState
from rbee_agent.ssh.own_key import OwnKey
from rbee_agent.ssh.tunnels import Tunnels, Way


@dataclass
class Told:
    """The states that were told, and a way to wait for one."""

    states: list[tuple[LinkState, str | None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, name: str, state: LinkState, reason: str | None) -> None:
        self.states.append((state, reason))
        self.changed.set()

    async def until(self, state: LinkState) -> str | None:
        async with asyncio.timeout(20):
            while not self.states or self.states[-1][0] != state:
                self.changed.clear()
                await self.changed.wait()
        return self.states[-1][1]


@asynccontextmanager
async def tunnels(key: OwnKey, told: Told) -> AsyncIterator[Tunnels]:
    """Running tunnels, ended at the end."""
    made = Tunnels(key.path, told)
    async with asyncio.TaskGroup() as group:
        made.start(group)
        try:
            yield made
        finally:
            made.close()


async def say(port: int, data: bytes) -> bytes:
    """Send everything, end, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(data)
            writer.write_eof()
            return await reader.read()
    finally:
        writer.close()


async def test_bytes_pass_whole(ssh_server, queen_key: OwnKey, echo: int) -> None:
    """Megabytes go through and come back unchanged, with the end of both sides."""
    data = bytes(range(256)) * 16_384
    async with tunnels(queen_key, Told()) as owner:
        port = owner.add("host", Way(ssh_server.hop)).forward(echo)
        assert await say(port, data) == data
        answers = await asyncio.gather(*(say(port, b"%d" % n * 1000) for n in range(20)))
    assert answers == [b"%d" % n * 1000 for n in range(20)]
