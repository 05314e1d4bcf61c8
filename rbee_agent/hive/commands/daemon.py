"""Whether this user's daemon runs, and calls through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rbee_agent.client.hive import HiveClient
from rbee_agent.runtime.files import read_json
from rbee_agent.runtime.processes import Identity
from rbee_agent.settings.places import Places

T = TypeVar("T")


def record(places: Places) -> dict[str, Any] | None:
    """What the daemon wrote of itself, if it lives."""
    found = read_json(places.hive_record)
    if found is None or not isinstance(found.get("pid"), int):
        return None
    identity = Identity(found["pid"], float(found.get("start_time", 0)))
    return found if identity.alive else None


def through(places: Places, found: dict[str, Any], call: Callable[[HiveClient], Awaitable[T]]) -> T:
    """Call the daemon whose record was `found`.

    Raises:
        RbeeError: what it refused with; `Unreachable` where it does not answer.
    """

    async def run() -> T:
        token = places.hive_token.read_text().strip()
        async with HiveClient(str(found["url"]), token) as client:
            return await call(client)

    return asyncio.run(run())
