"""Two engines with the demo model for every test of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.engine import Engine
from rbee_agent.engine.options import EngineOptions
from tests.engine_harness import Run, running, submit
from tests.grammar.conftest import suite

CONTEXT, SLOTS = 256, 3


__all__ = ["suite"]


@pytest.fixture(scope="session")
def engine(demo_model: Path) -> Iterator[Engine]:
    """The demo model, two slots of 1,024 tokens; one thread, since tests share the cores."""
    with running(EngineOptions(model_path=demo_model, context=1024, slots=2, threads=1)) as made:
        yield made


@pytest.fixture(scope="session")
def small(demo_model: Path) -> Iterator[Engine]:
    """The same in three slots of 256 tokens, with little host memory: where things run out."""
    options = EngineOptions(
        model_path=demo_model, context=CONTEXT, slots=SLOTS, threads=1, host_cache_bytes=16_000_000
    )
    with running(options) as made:
        yield made


@pytest.fixture
def ask(engine: Engine) -> Callable[..., Run]:
    """Run a request to its end, or raise what it ended with."""

    def run(**said: Any) -> Run:
        return submit(engine, **{"job_id": "a-job", **said}).wait()

    return run
