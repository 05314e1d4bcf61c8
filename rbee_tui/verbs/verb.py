"""What a verb is: one thing that an operator can do, with all that every way to it needs.

Keys, the `:` line, the palette, `?` and the confirmation are made from this one record, so they
cannot tell different stories.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from rbee_agent.contracts.tasks import TaskRequest
from rbee_tui.feed.source import QueenLink
from rbee_tui.state.view import View
from rbee_tui.widgets.tones import Cell


class Danger(StrEnum):
    """What doing it by mistake would cost."""

    NONE = "none"
    """Nothing: done at once."""
    CHANGES = "changes"
    """Something starts, or can be undone: the plan is shown."""
    DESTROYS = "destroys"
    """Work is lost: the plan is shown in warning colours."""
    ERASES = "erases"
    """Data is lost for good: the name has to be typed."""


Until = Callable[[Callable[[View], bool]], Awaitable[View]]
"""Waits for a view in which something is so."""


def _forget(_job_id: str, _request: TaskRequest) -> None:
    """Nobody remembers what is sent here."""


async def _no_until(_wanted: Callable[[View], bool]) -> View:
    raise NotImplementedError("nothing follows the fleet here")


@dataclass(frozen=True, slots=True)
class Target:
    """What a verb is done to, seen at one moment."""

    view: View
    noun: str = ""
    id: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    until: Until = _no_until
    sent: Mapping[str, TaskRequest] = field(default_factory=dict)
    """What was sent from here, by task."""
    remember: Callable[[str, TaskRequest], None] = _forget

    def having(self, name: str, value: str) -> Target:
        """The same target with one more argument."""
        return replace(self, arguments={**self.arguments, name: value})


@dataclass(frozen=True, slots=True)
class Choice:
    """One possible argument."""

    value: str
    name: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that a verb has before it can make its plan."""

    argument: str
    title: str
    choices: Callable[[Target], tuple[Choice, ...]]


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
    plan: Callable[[Target], tuple[Cell, ...]]
    """What will happen, in sentences and bars; computed from the target's view only."""
    command: Callable[[Target], str | None]
    """The equal command of the shell; None where there is none."""
    run: Callable[[QueenLink, Target], Awaitable[str]]
    """Does it and says in one sentence what was asked for; raises RbeeError."""
    refuses: Callable[[Target], str | None] = lambda _target: None
    """Why it makes no sense for this target now; None: it does."""
    ask: Ask | None = None
    about: Callable[[Target], str] = lambda target: target.id
    """What the question names, where it is not the target itself."""


def rbee(*words: str) -> str:
    """A command line that can be pasted into a shell."""
    return shlex.join(("rbee", *words))
