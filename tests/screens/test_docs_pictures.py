"""The pictures in the docs are what the app draws today."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from rbee_tui.screens.picture import PICTURES, take

DOCS = Path(__file__).parents[2] / "docs"


def words(svg: str) -> list[str]:
    """What a picture says and in which colours; not how the drawing library spells it."""
    found = re.findall(r">([^<>]+)</text>", svg)
    return [text.replace("&#160;", " ") for text in found] + re.findall(r"fill: #\w+", svg)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_app_draws(name: str) -> None:
    """`python -m rbee_tui.screens.picture docs` was run after the last change of the screens."""
    drawn = asyncio.run(take(name))

    assert words((DOCS / f"{name}.svg").read_text("utf-8")) == words(drawn)
