"""Everything an operator can do to the fleet from the control center, in one table."""

from __future__ import annotations

from typing import Final

from rbee_tui.verbs.hosts import DRAIN, RESUME
from rbee_tui.verbs.models import FORGET, PULL, VERIFY
from rbee_tui.verbs.policy import APPLY, DROP
from rbee_tui.verbs.sessions import END_SESSION
from rbee_tui.verbs.tasks import AGAIN, CANCEL
from rbee_tui.verbs.verb import Verb
from rbee_tui.verbs.workers import MOVE, SPAWN, STOP

__all__ = ["CANCEL", "MOVE", "SPAWN", "STOP", "VERBS", "by_name", "verbs_for"]

VERBS: Final[tuple[Verb, ...]] = (
    CANCEL, AGAIN, SPAWN, STOP, MOVE, PULL, VERIFY, FORGET, DRAIN, RESUME, END_SESSION, APPLY,
    DROP,
)  # fmt: skip


def verbs_for(noun: str) -> tuple[Verb, ...]:
    """What can be done to that noun, in the order of the registry."""
    return tuple(verb for verb in VERBS if noun in verb.nouns)


def by_name(name: str) -> Verb | None:
    """The verb of that name."""
    return next((verb for verb in VERBS if verb.name == name), None)
