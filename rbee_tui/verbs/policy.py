"""What can be done to the policy: let a script decide, or the built-in one again."""

from __future__ import annotations

from typing import Final

from rbee_tui.feed.source import QueenLink
from rbee_tui.verbs.verb import Danger, Target, Verb, rbee

SCRIPT_NAME: Final = "policy.star"


def _apply_plan(target: Target) -> tuple[str, ...]:
    lines = len(target.arguments.get("source", "").splitlines())
    waiting = target.view.fleet.totals().queued
    return (
        f"The queen tries {target.id} ({lines} lines) on the fleet as it is.",
        "If it fails, she refuses it with the line, and nothing changes.",
        f"Then it decides for each new task, and for the {waiting} that wait now.",
        "Where it errs or is slow, the built-in policy decides.",
    )


async def _apply(link: QueenLink, target: Target) -> str:
    _ = await link.put_policy(target.id, target.arguments["source"])
    return f"{target.id} is in force"


async def _drop(link: QueenLink, _target: Target) -> str:
    await link.drop_policy()
    return "the built-in policy is in force"


APPLY: Final = Verb(
    name="apply-policy",
    key="a",
    title="apply",
    help="Let the script decide, once the queen has tried it.",
    nouns=frozenset({"policy"}),
    danger=Danger.CHANGES,
    plan=_apply_plan,
    command=lambda target: rbee("policy", "apply", target.id),
    run=_apply,
)
DROP: Final = Verb(
    name="drop-policy",
    key="D",
    title="drop",
    help="Go back to the built-in policy; the queen forgets the script.",
    nouns=frozenset({"policy"}),
    danger=Danger.ERASES,
    plan=lambda target: (
        f"The queen forgets {target.id}; the built-in policy decides from now on.",
    ),
    command=lambda _target: rbee("policy", "drop"),
    run=_drop,
)
