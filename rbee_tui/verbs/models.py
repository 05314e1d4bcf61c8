"""What can be done to models: fetch, check, forget."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.nodes import NodeState
from rbee_agent.errors import RbeeError
from rbee_tui.feed.source import QueenLink
from rbee_tui.state.units import size
from rbee_tui.verbs.verb import Ask, Choice, Danger, Target, Verb, rbee


def _hosts(target: Target) -> tuple[Choice, ...]:
    """Hosts that are there and do not have it, those with the most disk first."""
    nodes = [
        node
        for node in target.view.fleet.nodes.values()
        if node.state is NodeState.ONLINE and target.id not in node.models
    ]
    nodes.sort(key=lambda node: node.disk_free or 0, reverse=True)
    return tuple(
        Choice(node.id, node.hostname or node.id, f"{size(node.disk_free)} of disk free")
        for node in nodes
    )


def _pull_plan(target: Target) -> tuple[str, ...]:
    host = target.arguments.get("host", "the host")
    model = target.view.fleet.models.get(target.id)
    lines = [f"{host} fetches {target.id}; the models screen shows how far it is."]
    if model is not None and model.size:
        lines.append(f"It is {size(model.size)} large.")
        node = target.view.fleet.nodes.get(host)
        if node is not None and node.disk_free is not None:
            left = size(node.disk_free - model.size)
            lines.append(f"{host} has {size(node.disk_free)} of disk free now, {left} after it.")
    return tuple(lines)


async def _pull(link: QueenLink, target: Target) -> str:
    await link.pull(target.id, node_id=target.arguments.get("host"))
    return f"pulling {target.id}"


def _pull_command(target: Target) -> str:
    host = target.arguments.get("host")
    return rbee("model", "pull", target.id, *(("--host", host) if host else ()))


async def _verify(link: QueenLink, target: Target) -> str:
    report = await link.verify_model(target.id)
    if report.broken:
        raise RbeeError(f"{target.id} is not as it should be on {', '.join(report.broken)}")
    return f"{target.id} is whole on {', '.join(report.nodes)}"


def _forget_plan(target: Target) -> tuple[str, ...]:
    workers = sum(w.model == target.id for w in target.view.fleet.workers.values())
    lines = [f"The catalog forgets {target.id}; its files stay on the hosts' disks."]
    if workers:
        lines.append(f"{workers} workers serve it: they run on, new tasks for it are refused.")
    return tuple(lines)


async def _forget(link: QueenLink, target: Target) -> str:
    await link.remove_model(target.id)
    return f"the catalog forgot {target.id}"


PULL: Final = Verb(
    name="pull",
    key="P",
    title="pull",
    help="Fetch the model onto a host.",
    nouns=frozenset({"model"}),
    danger=Danger.CHANGES,
    plan=_pull_plan,
    command=_pull_command,
    run=_pull,
    ask=Ask("host", "onto which host?", _hosts),
)
VERIFY: Final = Verb(
    name="verify",
    key="v",
    title="verify",
    help="Hash the model's bytes wherever it lies and compare.",
    nouns=frozenset({"model"}),
    danger=Danger.NONE,
    plan=lambda target: (f"Every host that has {target.id} hashes it.",),
    command=lambda target: rbee("model", "verify", target.id),
    run=_verify,
)
FORGET: Final = Verb(
    name="forget-model",
    key="D",
    title="forget",
    help="Take the model out of the catalog; files stay.",
    nouns=frozenset({"model"}),
    danger=Danger.ERASES,
    plan=_forget_plan,
    command=lambda target: rbee("model", "rm", target.id),
    run=_forget,
)
