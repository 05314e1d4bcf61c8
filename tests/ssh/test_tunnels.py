"""Tunnels: bytes, pressure, cuts and refusals, over a real SSH protocol on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncssh
import pytest

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
    """Send everything, end, and read to the end; nothing where we are hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(data)
            writer.write_eof()
            return await reader.read()
    except OSError:
        return b""
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


async def test_a_cut_connection_comes_back_under_the_same_port(
    ssh_server, queen_key: OwnKey, echo: int
) -> None:
    """Cut, callers are hung up on at once; when the server is back, the same port works again."""
    told = Told()
    async with tunnels(queen_key, told) as owner:
        port = owner.add("host", Way(ssh_server.hop)).forward(echo)
        assert await say(port, b"before") == b"before"
        await ssh_server.cut()
        await told.until("down")
        assert await say(port, b"meanwhile") == b""
        await ssh_server.start()
        await told.until("up")
        assert await say(port, b"after") == b"after"


async def test_a_changed_host_key_is_refused_for_good(
    ssh_server, queen_key: OwnKey, echo: int
) -> None:
    """A server that shows another key than the pinned one is not talked to, and not nagged."""
    told = Told()
    wrong = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    hop = ssh_server.hop.model_copy(update={"host_key": " ".join(wrong.split()[:2])})
    async with tunnels(queen_key, told) as owner:
        port = owner.add("host", Way(hop)).forward(echo)
        reason = await told.until("refused")
        assert "not the pinned one" in str(reason) or "has changed" in str(reason)
        assert await say(port, b"x") == b""
        # Pinned anew, it is tried at once and not after the long wait.
        owner.add("host", Way(ssh_server.hop))
        await told.until("up")
        assert await say(port, b"now") == b"now"


async def test_a_key_that_the_host_forgot(ssh_server, queen_key: OwnKey, tmp_path) -> None:
    """A host that took our key away refuses, and the reason says so."""
    told = Told()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "authorized_keys").write_text(other)
    await ssh_server.cut()
    await ssh_server.start()
    async with tunnels(queen_key, told) as owner:
        owner.add("host", Way(ssh_server.hop))
        assert "refused the login" in str(await told.until("refused"))


async def test_through_a_jump_host(ssh_server, queen_key: OwnKey, echo: int) -> None:
    """The way may lead through other hosts, each with its own pinned key."""
    if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        pytest.skip("asyncssh's server (not its client) cannot forward on uvloop; see tests/hosts")
    told = Told()
    async with tunnels(queen_key, told) as owner:
        tunnel = owner.add("host", Way(ssh_server.hop, (ssh_server.hop, ssh_server.hop)))
        assert await say(tunnel.forward(echo), b"far") == b"far"


async def test_a_slow_reader_stops_the_writer(ssh_server, queen_key: OwnKey) -> None:
    """Pressure passes through: who writes to a reader that does not read is held up."""
    reading = asyncio.Event()
    total = 64 * 1024 * 1024

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.write(b"%d" % got)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with tunnels(queen_key, Told()) as owner:
        port = owner.add("h", Way(ssh_server.hop)).forward(server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while sent < total:
                writer.write(bytes(1 << 20))
                sent += 1 << 20
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fill(), 2)
        assert sent < total
        reading.set()
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(30):
            assert int(await reader.read()) == sent
        writer.close()
    server.close()


async def test_a_slow_caller_stops_the_host(ssh_server, queen_key: OwnKey) -> None:
    """Pressure passes the other way too: a caller that does not read holds the service up."""
    total = 64 * 1024 * 1024
    sent = 0
    held = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(bytes(1 << 20))
            sent += 1 << 20
            try:
                await asyncio.wait_for(writer.drain(), 1)
            except TimeoutError:
                held.set()
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with tunnels(queen_key, Told()) as owner:
        port = owner.add("h", Way(ssh_server.hop)).forward(server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            await held.wait()
        assert sent < total
        got = 0
        async with asyncio.timeout(30):
            while data := await reader.read(1 << 20):
                got += len(data)
        assert got == total
        writer.close()
    server.close()


async def test_the_distance_is_measured(ssh_server, queen_key: OwnKey) -> None:
    """The round trip of a connection that stands is known; without one it is nothing."""
    told = Told()
    async with tunnels(queen_key, told) as owner:
        tunnel = owner.add("host", Way(ssh_server.hop))
        await told.until("up")
        assert 1e-5 < tunnel.round_trip() < 5
        await ssh_server.cut()
        await told.until("down")
        assert tunnel.round_trip() == 0


async def test_a_refusal_names_the_host_as_people_do(ssh_server, queen_key: OwnKey) -> None:
    """What the queen says of a host's key names the host, not its address."""
    told = Told()
    wrong = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    hop = ssh_server.hop.model_copy(update={"host_key": " ".join(wrong.split()[:2])})
    async with tunnels(queen_key, told) as owner:
        owner.add("attic", Way(hop))
        assert "host key of attic has changed" in str(await told.until("refused"))
