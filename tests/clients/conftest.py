"""One real fleet for all clients: a queen, a hive and a worker with the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet


@dataclass(frozen=True)
class Served:
    """Where a client finds the queen, and what it asks for."""

    url: str
    key: str
    model: str
    fleet: LiveFleet


@pytest.fixture(scope="session")
def served(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A queen with one ready worker of the demo model."""
    fleet = LiveFleet(tmp_path_factory.mktemp("clients"), worker_port=18401)
    try:
        fleet.register_model(demo_model)
        fleet.ok("up", "--model", MODEL)
        key = (fleet.root / ".local/state/rbee/admin.token").read_text().strip()
        yield Served(fleet.record("queen")["url"], key, MODEL, fleet)
    finally:
        fleet.end()
