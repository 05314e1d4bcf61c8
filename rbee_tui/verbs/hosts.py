"""What can be done to hosts that the queen knows."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.nodes import NodeState
from rbee_tui.feed.source import QueenLink
from rbee_tui.verbs.verb import Danger, Target, Verb, rbee


def _refuses(target: Target) -> str | None:
    node = target.view.fleet.nodes.get(target.id)
    if node is None:
        return f"there is no host {target.id}"
    if node.state is NodeState.DRAINING:
        return f"{target.id} drains already"
    return None


def _plan(target: Target) -> tuple[str, ...]:
    fleet = target.view.fleet
    workers = [w for w in fleet.workers.values() if w.node_id == target.id]
    busy = sum(fleet.slots_busy(worker) for worker in workers)
    return (
        f"{target.id} finishes {busy} running stream{'' if busy == 1 else 's'} and gets no more.",
        f"Its {len(workers)} workers take nothing new.",
    )


async def _drain(link: QueenLink, target: Target) -> str:
    await link.drain_node(target.id)
    return f"{target.id} drains"


def _resume_refuses(target: Target) -> str | None:
    node = target.view.fleet.nodes.get(target.id)
    if node is None:
        return f"there is no host {target.id}"
    return None if node.state is NodeState.DRAINING else f"{target.id} does not drain"


async def _resume(link: QueenLink, target: Target) -> str:
    await link.drain_node(target.id, drain=False)
    return f"{target.id} is given work again"


DRAIN: Final = Verb(
    name="drain",
    key="d",
    title="drain",
    help="Let it finish what it does, and give it nothing new.",
    nouns=frozenset({"node"}),
    danger=Danger.DESTROYS,
    plan=_plan,
    command=lambda target: rbee("hive", "drain", target.id),
    run=_drain,
    refuses=_refuses,
)
RESUME: Final = Verb(
    name="resume",
    key="u",
    title="resume",
    help="End a drain: it is given work again.",
    nouns=frozenset({"node"}),
    danger=Danger.NONE,
    plan=lambda target: (f"{target.id} is given work again.",),
    command=lambda target: rbee("hive", "resume", target.id),
    run=_resume,
    refuses=_resume_refuses,
)
