"""What broke a call from agent to agent, as a person reads it."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from rbee_agent.http.peers import why
from rbee_agent.http.server import bind


async def broken(url: str) -> str:
    """Why a request to `url` fails."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, OSError)) as caught:
            async with session.get(url):
                raise AssertionError("it was answered")
    return why(caught.value)


async def test_a_port_that_nobody_has():
    """A hive that is not started."""
    with bind("127.0.0.1", 0, choose="") as holder:
        port = holder.getsockname()[1]
        assert await broken(f"http://127.0.0.1:{port}/") == f"nothing listens on 127.0.0.1:{port}"


async def test_a_name_that_nobody_knows():
    """A host whose name has a slip of the pen in it."""
    said = await broken("http://nobody.invalid:9200/")
    assert said == "no address is known for nobody.invalid"


async def test_a_port_that_does_not_speak_tls():
    """It says what went wrong, and where."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        port = server.sockets[0].getsockname()[1]
        said = await broken(f"https://127.0.0.1:{port}/")
    assert said.startswith(f"no connection to 127.0.0.1:{port}: ")
    assert "Cannot connect" not in said
    assert "default" not in said
