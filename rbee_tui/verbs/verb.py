"""What a verb is: one thing that an operator can do, with all that every way to it needs.

Keys, the `:` line, the palette, `?` and the confirmation are made from this one record, so they
cannot tell different stories.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rbee_tui.feed.source import QueenLink
from rbee_tui.state.view import View


class Danger(StrEnum):
    """What doing it by mistake would cost."""

    NONE = "none"
    """Nothing: done at once."""
    CHANGES = "changes"
    """Something starts, or can be undone: the plan is shown, Enter does it."""
    DESTROYS = "destroys"
    """Work or data is lost: the plan is shown, the harmless answer has the focus."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a verb is done to, seen at one moment."""

    view: View
    noun: str = ""
    id: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that can be done."""

    name: str
    """Its name on the `:` line and in the palette."""
    key: str
    title: str
    """For the footer: one or two words."""
    help: str
    """One sentence."""
    nouns: frozenset[str]
    """What it is done to."""
    danger: Danger
    plan: Callable[[Target], tuple[str, ...]]
    """What will happen, in sentences; computed from the target's view only."""
    command: Callable[[Target], str]
    """The equal command of the shell."""
    run: Callable[[QueenLink, Target], Awaitable[str]]
    """Does it and says in one sentence what was asked for; raises RbeeError."""
    refuses: Callable[[Target], str | None] = lambda _target: None
    """Why it makes no sense for this target now; None: it does."""


def rbee(*words: str) -> str:
    """A command line that can be pasted into a shell."""
    return shlex.join(("rbee", *words))
