"""Tones: the few meanings that colour may carry, and the pieces of text that carry them.

A widget draws pieces, never markup: text with brackets in it stays text. The theme decides what a
tone looks like; a pane decides what it means. Colour is never alone: whoever uses `bad` also
writes a symbol or a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.widget import Widget

Piece: TypeAlias = tuple[str, str]
"""Text and the name of its tone (empty: plain)."""
Cell: TypeAlias = str | tuple[Piece, ...]
"""What stands in one cell of a table or in one line of a header."""

TONES: Final = ("ok", "warn", "bad", "busy", "accent", "muted", "strong", "title", "here")

TONE_CLASSES: Final = frozenset(f"tone--{tone}" for tone in TONES)

TONE_CSS: Final = """
    & > .tone--ok { color: $text-success; }
    & > .tone--warn { color: $text-warning; }
    & > .tone--bad { color: $text-error; text-style: bold; }
    & > .tone--busy { color: $text-primary; }
    & > .tone--accent { color: $text-accent; }
    & > .tone--muted { color: $text-muted; }
    & > .tone--strong { color: $foreground; text-style: bold; }
    & > .tone--title { color: $text-primary; text-style: bold; }
    & > .tone--here { color: $foreground; text-style: bold reverse; }
"""


def pieces(cell: Cell) -> tuple[Piece, ...]:
    """The cell as pieces, whatever it was given as."""
    return ((cell, ""),) if isinstance(cell, str) else cell


def plain(cell: Cell) -> str:
    """The cell's text without its tones."""
    return cell if isinstance(cell, str) else "".join(text for text, _ in cell)


def width_of(cell: Cell) -> int:
    """Terminal columns that the cell takes."""
    return sum(cell_len(text) for text, _ in pieces(cell))


def tone_style(widget: Widget, tone: str) -> Style:
    """What a tone looks like in this widget, on the widget's own background.

    Whole and not partial: muted tones are mixed from the background they stand on.
    """
    if not tone:
        return Style.null()
    return widget.get_component_rich_style(f"tone--{tone}")


def fitted(cell: Cell, width: int, *, right: bool = False, tail: bool = False) -> list[Piece]:
    """The cell cut or filled to exactly `width` columns; an ellipsis stands for what is cut.

    Args:
        cell: what is to be shown.
        width: columns.
        right: fill on the left.
        tail: cut at the beginning, because the end is what is new.
    """
    parts = list(pieces(cell))
    if tail and width_of(cell) > width > 0:
        text = plain(cell)[-width:]
        while cell_len(text) >= width:
            text = text[1:]
        parts = [("…" + text, parts[-1][1])]
        cell = tuple(parts)
    missing = width - width_of(cell)
    if missing >= 0:
        fill = (" " * missing, "")
        return [fill, *parts] if right else [*parts, fill]
    kept: list[Piece] = []
    left = width
    for text, tone in parts:
        length = cell_len(text)
        if length < left:
            kept.append((text, tone))
            left -= length
            continue
        kept.append((set_cell_size(text, max(0, left - 1)) + "…" if left else "", tone))
        break
    return kept


def segments(widget: Widget, parts: Iterable[Piece], base: Style) -> list[Segment]:
    """Pieces as what Textual's line API draws."""
    return [
        Segment(text.replace("\n", " "), base + tone_style(widget, tone))
        for text, tone in parts
        if text
    ]


def content(parts: Cell) -> Content:
    """Pieces as content for a label or a title; tones become theme variables, text stays text."""
    styles = {
        "ok": "$text-success",
        "warn": "$text-warning",
        "bad": "bold $text-error",
        "busy": "$text-primary",
        "accent": "$text-accent",
        "muted": "$foreground-muted",
        "strong": "bold",
        "title": "bold $text-primary",
        "here": "bold reverse",
    }
    return Content.assemble(*((text, styles.get(tone, "")) for text, tone in pieces(parts)))
