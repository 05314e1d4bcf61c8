"""An SSH server in this process, on loopback, that a test can cut and bring back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import pytest
import uvloop

from rbee_agent.contracts.hosts import Hop
from rbee_agent.ssh.own_key import OwnKey, own_key


class LoopbackServer:
    """Lets one key in and forwards to one port, as a host does for the queen's key."""

    def __init__(self, authorized: Path) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self._authorized = authorized
        self._server: asyncssh.SSHAcceptor | None = None
        self._open: list[asyncssh.SSHServerConnection] = []

    @property
    def hop(self) -> Hop:
        """How it is reached."""
        public = " ".join(self.key.export_public_key().decode().split()[:2])
        return Hop(address="127.0.0.1", port=self.port, user="queen", host_key=public)

    async def start(self) -> None:
        """Listen; the second time on the same port."""
        owner = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                owner._open.append(conn)

            def connection_requested(
                self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
            ) -> bool:
                return True

        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=Door,
            server_host_keys=[self.key],
            authorized_client_keys=str(self._authorized),
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for connection in self._open:
            connection.abort()
        self._open.clear()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: the agents run on uvloop where there is one, and it differs in small things."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def queen_key(tmp_path: Path) -> OwnKey:
    """A queen's own key."""
    return own_key(tmp_path / "state")


@pytest.fixture
async def ssh_server(tmp_path: Path, queen_key: OwnKey) -> AsyncIterator[LoopbackServer]:
    """A running server that knows the queen's key."""
    authorized = tmp_path / "authorized_keys"
    authorized.write_text(f"{queen_key.public} {queen_key.comment}\n")
    server = LoopbackServer(authorized)
    await server.start()
    try:
        yield server
    finally:
        await server.cut()


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A TCP service that says everything back, then ends when its caller does; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
