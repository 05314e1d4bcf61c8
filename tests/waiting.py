"""Waiting for what is to come, for tests that have no event to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(look: Callable[[], bool | Awaitable[bool]], *, timeout: float = 60) -> None:
    """Wait until `look` gives (or its awaitable gives) true; `timeout` seconds at most."""
    async with asyncio.timeout(timeout):
        while True:
            found = look()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
