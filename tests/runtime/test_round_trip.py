"""The round trip of a connection, and of one that is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from rbee_agent.runtime.round_trip import round_trip


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_closed_connection_has_none(make_loop: Any) -> None:
    """On either loop: who asks how far a host is must not fail because its link just broke."""

    async def ask() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            plug = writer.get_extra_info("socket")
            assert 0 < round_trip(plug) < 5
            writer.close()
            await writer.wait_closed()
            assert round_trip(plug) == 0.0

    loop = make_loop()
    try:
        loop.run_until_complete(ask())
    finally:
        loop.close()
