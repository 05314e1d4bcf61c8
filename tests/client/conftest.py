"""A scripted queen on a free port, and a client of hers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rbee_agent.client import QueenClient
from rbee_agent.testing.scripted_queen import ScriptedQueen


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedQueen]:
    """A running scripted queen."""
    queen = ScriptedQueen()
    await queen.start()
    try:
        yield queen
    finally:
        queen.release.set()
        await queen.stop()


@pytest.fixture
async def client(scripted: ScriptedQueen) -> AsyncIterator[QueenClient]:
    """A client of the scripted queen."""
    async with QueenClient(scripted.url) as made:
        yield made
