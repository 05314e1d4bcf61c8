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


def _again_refuses(target: Target) -> str | None:
    task = target.view.fleet.tasks.get(target.id)
    if target.id not in target.sent:
        return "Only what was sent from here can be sent again: nobody else's prompt is kept."
    if task is not None and not task.state.final:
        return f"{target.id} has not ended yet"
    return None


def _again_plan(target: Target) -> tuple[str, ...]:
    request = target.sent.get(target.id)
    model = request.model if request is not None else "its model"
    return (f"The same prompt goes to {model} as a new task; {target.id} stays as it is.",)


def _again_command(target: Target) -> str | None:
    request = target.sent.get(target.id)
    if request is None or request.messages is None or len(request.messages) != 1:
        return None
    words = ["infer", "-m", request.model, "-p", request.messages[0].text()]
    if request.max_tokens is not None:
        words += ["--max-tokens", str(request.max_tokens)]
    return rbee(*words)


async def _again(link: QueenLink, target: Target) -> str:
    request = target.sent[target.id].model_copy(update={"task_id": None})
    accepted = await link.submit(request)
    target.remember(accepted.job_id, request)
    return f"sent again as {accepted.job_id}"


AGAIN: Final = Verb(
    name="retry",
    key="r",
    title="retry",
    help="Send a prompt of yours again, as a new task.",
    nouns=frozenset({"task"}),
    danger=Danger.CHANGES,
    plan=_again_plan,
    command=_again_command,
    run=_again,
    refuses=_again_refuses,
)
