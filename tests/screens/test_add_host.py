"""Which host is meant by what is typed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from rbee_tui.screens import add_host as module
from rbee_tui.screens.add_host import hosts_typed
from rbee_tui.screens.steps import StepsScreen
from rbee_tui.widgets.picker import Option

KNOWN = [Option(name, name, "in your ~/.ssh/config") for name in ("gpu-1", "gpu-2", "attic")]


def test_the_beginning_of_a_known_name_means_that_host() -> None:
    """Enter behind `gpu` takes gpu-1, which exists; a host called `gpu` is further down."""
    assert [o.value for o in hosts_typed("gpu", KNOWN)] == ["gpu-1", "gpu-2", "gpu"]
    assert hosts_typed("attic", KNOWN) == [KNOWN[2]]


def test_a_name_that_nobody_knows_is_taken_as_it_is() -> None:
    """As one would say it to ssh, with a user in front."""
    assert [o.value for o in hosts_typed("ada@10.0.0.5", KNOWN)] == ["ada@10.0.0.5"]
    assert hosts_typed("", KNOWN) == []


async def test_a_host_is_added_at_the_queen_one_looks_at(
    acting: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Opened with --queen, its commands speak to that queen and to no other."""
    asked: list[list[str]] = []
    told = tmp_path / "told"
    program = [
        sys.executable,
        "-c",
        f"import sys; open({str(told)!r}, 'a').write(f'{{sys.argv[1:]}}')",
    ]
    monkeypatch.setattr(module, "run_aside", lambda _app, words: asked.append(list(words)) or 0)
    monkeypatch.setattr(module, "rbee_command", lambda: program)
    app = acting()
    app.setup = replace(app.setup, queen_option=("--queen", "http://elsewhere:8080"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "a")
        await pilot.pause()
        app.screen.query_one(Input).value = "ada@attic"
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("y")
        for _ in range(500):
            if isinstance(app.screen, StepsScreen) and app.screen.ended is not None:
                break
            await pilot.pause(0.01)

    queen = ["--queen", "http://elsewhere:8080"]
    assert asked == [[*queen, "hive", "add", "ada@attic"]]
    assert (
        told.read_text()
        == f"{[*queen, 'hive', 'doctor', 'attic']}{[*queen, 'hive', 'install', 'attic']}"
    )
