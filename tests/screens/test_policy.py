"""The policy screen: the queen tries a script, and decides by it once it was said twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from rbee_agent.contracts.policy import PolicyInForce, PolicyScript, PolicyTrial
from rbee_agent.errors import Refused
from rbee_tui.app import RbeeApp
from rbee_tui.setup import ExitCode
from rbee_tui.widgets.facts import Facts


class Judge:
    """What a queen says of scripts, and what was put in force."""

    def __init__(self, app: RbeeApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.applied: list[tuple[str, str]] = []
        for name in ("check_policy", "put_policy"):
            monkeypatch.setattr(app.link, name, getattr(self, name), raising=False)

    async def check_policy(self, _name: str, source: str) -> PolicyTrial:
        """Scripts that say `boom` do not load."""
        self.tried.append(source)
        if "boom" in source:
            raise Refused("policy.star:1: undefined name boom")
        return PolicyTrial(hooks=["place"], answers={"place": "w-7f3k"})

    async def put_policy(self, name: str, source: str) -> PolicyInForce:
        """Every script is taken."""
        self.applied.append((name, source))
        return PolicyInForce(policy=PolicyScript(name=name, source=source, at=0.0))


def said(app: RbeeApp) -> str:
    """The pane that tells what the queen says."""
    pane = app.screen.query_one("#said", Facts)
    return "\n".join(line.text for line in pane.render_lines(pane.size.region))


async def until(pilot: Pilot[ExitCode], wanted: Callable[[], Any]) -> None:
    """Wait until something is so."""
    for _ in range(200):
        if wanted():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come so")


async def test_a_script_is_tried(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`v` sends the text as it stands and shows each hook's answer; nothing is put in force."""
    app = acting()
    judge = Judge(app, monkeypatch)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("0", "v")
        await until(pilot, lambda: "w-7f3k" in said(app))

        assert len(judge.tried) == 1
        assert judge.applied == []


async def test_a_refused_script_is_told_with_its_line(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the queen has against a script stands in the pane, place and all."""
    app = acting()
    Judge(app, monkeypatch)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("0", "e", *"boom", "escape", "v")
        await until(pilot, lambda: "policy.star:1" in said(app))


async def test_a_script_is_put_in_force_after_its_plan(
    acting: Callable[[], RbeeApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a` shows the plan; Escape leaves all as it is, `y` sends what was typed."""
    app = acting()
    judge = Judge(app, monkeypatch)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("0", "e", *"# mine", "escape", "a")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await pilot.press("escape")
        await pilot.pause()
        assert judge.applied == []

        await pilot.press("a")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await pilot.press("y")
        await until(pilot, lambda: judge.applied)

        (name, source), *more = judge.applied
        assert (name, more) == ("policy.star", [])
        assert source.startswith("# mine")
