"""Whole fleets: real daemons, the real demo model, a home of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.ports import own_port


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[LiveFleet]:
    """One fleet for all tests that leave it as it was: up, with a ready worker."""
    made = LiveFleet(tmp_path_factory.mktemp("fleet"), worker_port=own_port(18101))
    made.register_model(demo_model)
    try:
        made.ok("up", "--model", MODEL)
        yield made
    finally:
        made.end()


@pytest.fixture
def new_fleet(tmp_path: Path, demo_model: Path) -> Iterator[Callable[..., LiveFleet]]:
    """Makes fleets that knows the demo model and runs nothing yet; all are ended afterwards."""
    made: list[LiveFleet] = []

    def make(**env: str) -> LiveFleet:
        made.append(LiveFleet(tmp_path / f"fleet-{len(made)}", worker_port=own_port(18201), **env))
        made[-1].register_model(demo_model)
        return made[-1]

    yield make
    for fleet in made:
        fleet.end()
