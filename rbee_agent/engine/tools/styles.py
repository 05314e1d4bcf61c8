"""What there is to say of how a model family writes tool calls and thoughts.

A record serves both ways: its marks tell the parser where a call begins, its wording tells the
grammar how a call must be written.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Literal


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


def named_json(before: str, after: str) -> Wording:
    """The name, then the arguments, as JSON between these words."""
    return Wording(f'{before}{{"name": "', '", "arguments": ', f"}}{after}")


def listed_json(before: str, after: str) -> Wording:
    """A list of names and arguments, as JSON between these words."""
    return Wording('{"name": "', '", "arguments": ', "}", before, ", ", after)


HERMES_WORDING = named_json("<tool_call>\n", "\n</tool_call>")


@dataclass(frozen=True, slots=True)
class Markup:
    """Tags around a call and each of its arguments, which stand between them as bare text."""

    call: str
    """The opening tag of a call, up to the name."""
    end: str
    argument: str
    """The opening tag of an argument, up to its name."""
    end_argument: str
    tag_end: str = ">"


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
    after: tuple[str, ...] = ()
    """Marks that are dropped once there was a call."""
    bare: str = ""
    """What an answer begins with that may be a call without any mark."""
    thinking: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    before_text: str = ""
    """What the family writes before an answer in words, where that must not be left out."""
    body: Literal[
        "json", "tags", "nested", "pairs", "gemma", "python", "calls", "recipients", "channels"
    ] = "json"
    """What may stand behind the mark, beside JSON and a `head`."""
    markup: Markup | None = None
    """The tags, where the body is made of them."""
    calls_end_thoughts: bool = False
    """Whether a call may stand where a thought was not closed, and closes it."""
    signs: tuple[str, ...] = ()
    """What in a template tells this family: any of these."""
    needs: str = ""
    """What must stand in the template too."""
    tokens: tuple[str, ...] = ()
    """Control tokens, beside the marks, that the parser must see."""
    short_ids: bool = False
    """Whether the template wants call ids of nine letters and digits."""

    @property
    def thoughts(self) -> tuple[tuple[str, str], ...]:
        """What stands before and behind a thought, as a grammar must write it."""
        if self.body == "channels":
            return (("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),)
        return self.thinking

    def shows(self, token: str) -> bool:
        """Whether a control token, by its name, is a mark or a part of one."""
        thoughts = [mark for pair in self.thinking for mark in pair]
        tags = astuple(self.markup) if self.markup is not None else ()
        marks = (*self.begin, *self.skip, *self.after, *self.tokens, *thoughts, *tags)
        return bool(token) and any(token in mark for mark in marks)
