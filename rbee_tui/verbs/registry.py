"""Everything an operator can do to the fleet from the control center."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.pools import DeploymentRequest
from rbee_tui.feed.source import QueenLink
from rbee_tui.state.units import size
from rbee_tui.verbs.verb import Danger, Target, Verb, rbee


def _cancel_refuses(target: Target) -> str | None:
    task = target.view.fleet.tasks.get(target.id)
    if task is not None and task.state.final:
        return f"{target.id} has ended already"
    return None


def _cancel_plan(target: Target) -> tuple[str, ...]:
    stream = target.view.streams.by_job.get(target.id)
    told = f" after {stream.tokens_out} tokens" if stream else ""
    return (f"The task {target.id} ends{told}; no token comes after it.",)


async def _cancel(link: QueenLink, target: Target) -> str:
    await link.cancel(target.id)
    return f"cancelled {target.id}"


def _stop_plan(target: Target) -> tuple[str, ...]:
    fleet = target.view.fleet
    worker = fleet.workers.get(target.id)
    if worker is None:
        return (f"The worker {target.id} stops.",)
    lines = [f"The worker {worker.id} ({worker.model} on {worker.node_id or '?'}) stops."]
    if busy := fleet.slots_busy(worker):
        lines.append(
            f"{busy} running stream{'s' if busy > 1 else ''} move to another worker of the model,"
            " or wait until there is one."
        )
    if memory := fleet.memory_bytes(worker):
        lines.append(f"{size(memory)} of memory become free on {worker.device}.")
    return tuple(lines)


async def _stop(link: QueenLink, target: Target) -> str:
    await link.stop_worker(target.id)
    return f"stopping {target.id}"


def _stop_refuses(target: Target) -> str | None:
    return None if target.id in target.view.fleet.workers else f"there is no worker {target.id}"


def _spawn_model(target: Target) -> str:
    if target.noun == "worker" and (worker := target.view.fleet.workers.get(target.id)):
        return worker.model
    return target.arguments.get("model", target.id)


def _spawn_node(target: Target) -> str | None:
    if target.noun == "worker" and (worker := target.view.fleet.workers.get(target.id)):
        return worker.node_id
    return target.arguments.get("host")


def _spawn_plan(target: Target) -> tuple[str, ...]:
    model, node = _spawn_model(target), _spawn_node(target)
    fleet = target.view.fleet
    have = [w for w in fleet.workers.values() if w.model == model]
    where = f"on {node}" if node else "where it fits best"
    lines = [f"One more worker of {model} starts {where}; now there are {len(have)}."]
    needs = next((m for w in have if (m := fleet.memory_bytes(w))), None)
    if needs is None and (known := fleet.models.get(model)) and known.size:
        needs = known.size
    if needs is not None:
        lines.append(f"It takes about {size(needs)} of memory.")
        if node is not None and (host := fleet.nodes.get(node)):
            free = max((d.memory_free for d in host.devices), default=0)
            lines.append(f"{node} has {size(free)} free on its emptiest device.")
    lines.append("If it does not fit, the queen says so with both numbers.")
    return tuple(lines)


async def _spawn(link: QueenLink, target: Target) -> str:
    model, node = _spawn_model(target), _spawn_node(target)
    wish = await link.spawn(DeploymentRequest(model=model, node_id=node))
    return f"asked for a worker of {model} ({wish.id})"


def _spawn_command(target: Target) -> str:
    node = _spawn_node(target)
    return rbee("worker", "spawn", _spawn_model(target), *(("--host", node) if node else ()))


CANCEL: Final = Verb(
    name="cancel",
    key="x",
    title="cancel",
    help="Cancel the task: no token comes after it.",
    nouns=frozenset({"task", "stream"}),
    danger=Danger.DESTROYS,
    plan=_cancel_plan,
    command=lambda target: rbee("task", "cancel", target.id),
    run=_cancel,
    refuses=_cancel_refuses,
)
STOP: Final = Verb(
    name="stop",
    key="s",
    title="stop",
    help="Stop the worker; its streams move to another one.",
    nouns=frozenset({"worker"}),
    danger=Danger.DESTROYS,
    plan=_stop_plan,
    command=lambda target: rbee("worker", "stop", target.id),
    run=_stop,
    refuses=_stop_refuses,
)
SPAWN: Final = Verb(
    name="spawn",
    key="n",
    title="new worker",
    help="Start one more worker of the model.",
    nouns=frozenset({"worker", "model"}),
    danger=Danger.CHANGES,
    plan=_spawn_plan,
    command=_spawn_command,
    run=_spawn,
)

VERBS: Final[tuple[Verb, ...]] = (CANCEL, STOP, SPAWN)


def verbs_for(noun: str) -> tuple[Verb, ...]:
    """What can be done to that noun, in the order of the registry."""
    return tuple(verb for verb in VERBS if noun in verb.nouns)


def by_name(name: str) -> Verb | None:
    """The verb of that name."""
    return next((verb for verb in VERBS if verb.name == name), None)
