"""The pictures and the table of keys in the docs are what the app has today."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from textual.dom import DOMNode

from rbee_tui.tour.guide import SECTIONS, table, with_table
from rbee_tui.tour.picture import PICTURES, take

DOCS = Path(__file__).parents[2] / "docs"


def words(svg: str) -> list[str]:
    """What a picture says and in which colours; not how the drawing library spells it."""
    found = re.findall(r">([^<>]+)</text>", svg)
    return [text.replace("&#160;", " ") for text in found] + re.findall(r"fill: #\w+", svg)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_app_draws(name: str) -> None:
    """`python -m rbee_tui.tour.picture docs` was run after the last change of the screens."""
    drawn = asyncio.run(take(name))

    assert words((DOCS / f"{name}.svg").read_text("utf-8")) == words(drawn)


def test_the_table_of_keys_is_made_of_the_bindings() -> None:
    """`python -m rbee_tui.tour.guide docs/control-center.md` was run after the last change."""
    page = (DOCS / "control-center.md").read_text("utf-8")

    assert page == with_table(page)


def test_every_class_of_ours_that_binds_keys_is_in_the_table() -> None:
    """A new screen or widget with keys cannot be forgotten, and each key has a sentence."""
    listed = {owner for _, owners in SECTIONS for owner in owners}
    found = {
        one
        for one in descendants(DOMNode)
        if one.__module__.startswith("rbee_tui") and vars(one).get("BINDINGS")
    }

    assert found == listed
    assert "|  |" not in table()


def descendants(parent: type[Any]) -> set[type[Any]]:
    """All classes below one."""
    below = set(parent.__subclasses__())
    return below.union(*(descendants(one) for one in below))


def test_the_tour_shows_every_picture_and_no_other() -> None:
    """A picture that is made is shown, and one that is shown is made."""
    page = (DOCS / "control-center.md").read_text("utf-8")

    assert set(re.findall(r"\]\((\w+)\.svg\)", page)) == set(PICTURES)
