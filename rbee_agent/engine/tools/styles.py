"""How model families write tool calls and thoughts, and which family a template means.

A record serves both ways: its marks tell the parser where a call begins, its wording tells the
grammar how a call must be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """The text around a call's name and arguments, for answers that must be calls."""

    before: str
    between: str
    after: str = ""
    open: str = ""
    """Before the first call."""
    separator: str = "\n"
    close: str = ""
    """Behind the last call."""
    several: bool = True
    """Whether the family writes more than one call in an answer."""


@dataclass(frozen=True, slots=True)
class Style:
    """One family's way."""

    name: str
    begin: tuple[str, ...]
    """What stands before a call."""
    wording: Wording
    head: re.Pattern[str] | None = None
    """How a name is written that stands before its arguments' brace; None: JSON only."""
    skip: tuple[str, ...] = ()
    """Marks that are dropped wherever they stand."""
    bare: bool = False
    """Whether an answer that begins with ``{`` may be a call without any mark."""
    thinking: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    signs: tuple[str, ...] = ()
    """What in a template tells this family, the first that matches wins."""
    tokens: tuple[str, ...] = ()
    """Control tokens, beside the marks, that the parser must see."""
    short_ids: bool = False
    """Whether the template wants call ids of nine letters and digits."""

    def shows(self, token: str) -> bool:
        """Whether a control token, by its name, is a mark or a part of one."""
        thoughts = [mark for pair in self.thinking for mark in pair]
        marks = (*self.begin, *self.skip, *self.tokens, *thoughts)
        return bool(token) and any(token in mark for mark in marks)


HERMES = Style(
    "hermes",
    begin=("<tool_call>",),
    skip=("</tool_call>",),
    wording=Wording('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"),
    signs=("<tool_call>",),
)
"""Hermes, Qwen 2.5 and 3, and every model whose template knows no tools."""

STYLES = (HERMES,)


def style_of(template: str) -> Style:
    """The style whose signs stand in a template; Hermes where none do."""
    for style in STYLES:
        if any(sign in template for sign in style.signs):
            return style
    return HERMES
