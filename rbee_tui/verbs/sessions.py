"""What can be done to sessions."""

from __future__ import annotations

from typing import Final

from rbee_tui.feed.source import QueenLink
from rbee_tui.verbs.verb import Danger, Target, Verb, rbee


async def _end(link: QueenLink, target: Target) -> str:
    await link.end_session(target.id)
    return f"forgot the session {target.id}"


END_SESSION: Final = Verb(
    name="end-session",
    key="x",
    title="end",
    help="Forget the session: its budget and its place in a warm cache.",
    nouns=frozenset({"session"}),
    danger=Danger.DESTROYS,
    plan=lambda target: (
        f"The session {target.id} is forgotten; the next task with its id begins a new one.",
    ),
    command=lambda target: rbee("session", "rm", target.id),
    run=_end,
)
