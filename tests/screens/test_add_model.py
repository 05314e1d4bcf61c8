"""A model that the catalog does not know is fetched from the control center."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import Input

from rbee_agent.contracts.models import PullBegun
from rbee_tui.screens.add_model import model_typed
from rbee_tui.widgets.dialog import Question

REFERENCE = "hf:bartowski/Qwen3-4B-GGUF:Q4_K_M"


@pytest.mark.parametrize("said", [REFERENCE, "org/repo", "https://x/y.gguf", "file:/m.gguf"])
def test_a_reference_can_be_picked(said: str) -> None:
    """As it was typed, without the blanks around it."""
    assert [option.value for option in model_typed(f" {said} ")] == [said]


def test_a_bare_word_says_not_where_to_get_it() -> None:
    """It is looked for among the names that are known."""
    assert model_typed("qwen") == []


@pytest.mark.parametrize("keys", [("6", "a"), ("6", "slash", "x", "y", "z", "enter", "a")])
async def test_a_new_model_is_fetched_onto_a_host(
    acting: Any, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    """Reference, host, plan with the equal command; also where the table shows nothing."""
    asked: list[tuple[str, str | None]] = []

    async def pull(model_id: str, *, node_id: str | None = None) -> PullBegun:
        asked.append((model_id, node_id))
        return PullBegun(model=model_id, node_id=node_id or "")

    app = acting()
    app.setup = replace(app.setup, queen_option=("--queen", "http://far:1"))
    monkeypatch.setattr(app.link, "pull", pull, raising=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        app.screen.query_one(Input).value = REFERENCE
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, Question)
        shown = "".join(strip.text for strip in app.screen._compositor.render_strips(app.size))
        assert "$ rbee --queen http://far:1 model pull" in shown
        assert REFERENCE in shown
        await pilot.press("y")
        for _ in range(200):
            if asked:
                break
            await pilot.pause(0.01)

    ((model, node),) = asked
    assert model == REFERENCE
    assert node in app.view.fleet.nodes
