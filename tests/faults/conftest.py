"""Queens and workers that can be killed, and what the readers felt of it."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rbee_agent.testing.hive import FakeHive
from tests.faults.processes import Crew, QueenProcess

GAPS: dict[str, list[float]] = {}
"""By fault: the longest pauses that readers saw, in seconds."""


@pytest.fixture
async def queen_process(tmp_path: Path) -> AsyncIterator[QueenProcess]:
    """A running queen process; killed at the end of the test."""
    made = QueenProcess(tmp_path, "--queue-limit", "100000")
    await made.start()
    yield made
    await made.end()


@pytest.fixture
async def hive() -> AsyncIterator[FakeHive]:
    """A simulated host with the model ``demo``."""
    async with FakeHive() as made:
        yield made


@pytest.fixture(scope="session")
def crew(
    demo_model: Path, second_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    """Real workers of both architectures."""
    files = {"demo": demo_model, "second": second_model}
    made = Crew(files, tmp_path_factory.mktemp("crew"))
    yield made
    made.end()


@pytest.fixture
def gaps() -> dict[str, list[float]]:
    """Where a test puts the pauses that its readers saw; they are told at the end."""
    return GAPS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """State the client's gap for each fault."""
    if not GAPS:
        return
    terminalreporter.section("the reader's longest pause")
    terminalreporter.write_line("| fault | streams | median | longest |")
    terminalreporter.write_line("|---|---|---|---|")
    for fault, seconds in sorted(GAPS.items()):
        middle, most = statistics.median(seconds), max(seconds)
        terminalreporter.write_line(f"| {fault} | {len(seconds)} | {middle:.2f} s | {most:.2f} s |")
