"""What can be done to tasks and their streams."""

from __future__ import annotations

from typing import Final

from rbee_tui.feed.source import QueenLink
from rbee_tui.verbs.verb import Danger, Target, Verb, rbee


def _refuses(target: Target) -> str | None:
    task = target.view.fleet.tasks.get(target.id)
    if task is not None and task.state.final:
        return f"{target.id} has ended already"
    return None


def _plan(target: Target) -> tuple[str, ...]:
    stream = target.view.streams.by_job.get(target.id)
    told = f" after {stream.tokens_out} tokens" if stream else ""
    return (f"The task {target.id} ends{told}; no token comes after it.",)


async def _cancel(link: QueenLink, target: Target) -> str:
    await link.cancel(target.id)
    return f"cancelled {target.id}"


CANCEL: Final = Verb(
    name="cancel",
    key="x",
    title="cancel",
    help="Cancel the task: no token comes after it.",
    nouns=frozenset({"task", "stream"}),
    danger=Danger.DESTROYS,
    plan=_plan,
    command=lambda target: rbee("task", "cancel", target.id),
    run=_cancel,
    refuses=_refuses,
)
