"""How the overview looks, on fixed data and clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rbee_tui.state.view import View
from rbee_tui.tour.picture import picture_app

Compare = Callable[..., bool]
THEMES = ["rbee-light", "rbee-contrast", "rbee-cb", "rbee-16", "rbee-mono"]
SIZES = [(80, 24), (120, 40), (200, 60), (50, 18)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_overview(snap_compare: Compare, view: View, press: Any, size: tuple[int, int]) -> None:
    """Hosts, workers, streams, events and the prompt at every size."""
    assert snap_compare(picture_app(view), terminal_size=size, run_before=press())


@pytest.mark.parametrize(
    "theme", ["rbee-light", "rbee-contrast", "rbee-cb", "rbee-16", "rbee-mono"]
)
def test_the_overview_in_other_themes(
    snap_compare: Compare, view: View, press: Any, theme: str
) -> None:
    """The same in every theme."""
    app = picture_app(view, theme=theme)
    assert snap_compare(app, terminal_size=(100, 30), run_before=press())


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_an_empty_fleet(
    snap_compare: Compare, empty_view: View, press: Any, size: tuple[int, int]
) -> None:
    """Nothing runs: each pane says what to do about it."""
    assert snap_compare(picture_app(empty_view), terminal_size=size, run_before=press())


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_lost_queen(
    snap_compare: Compare, stale_view: View, press: Any, size: tuple[int, int]
) -> None:
    """What is shown is old, and is said and drawn to be old."""
    assert snap_compare(picture_app(stale_view), terminal_size=size, run_before=press())


def test_a_queen_that_never_answered(
    snap_compare: Compare, connecting_view: View, press: Any
) -> None:
    """Before the first word of the queen."""
    assert snap_compare(picture_app(connecting_view), run_before=press())


def test_typing_a_prompt(snap_compare: Compare, view: View, press: Any) -> None:
    """The prompt line with the focus, another model taken with Tab."""
    keys = ["p", "tab", *"hello"]
    assert snap_compare(picture_app(view), run_before=press(*keys))


def test_hidden_text(snap_compare: Compare, view: View, press: Any) -> None:
    """On a wall display nobody reads along."""
    app = picture_app(view, read_only=True)
    assert snap_compare(app, terminal_size=(120, 40), run_before=press())


def test_help(snap_compare: Compare, view: View, press: Any) -> None:
    """The keys of the overview at 80 by 24."""
    assert snap_compare(picture_app(view), run_before=press("question_mark"))
