"""What can be done to workers: one more, none more, and on to another device."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.nodes import NodeInfo, NodeState
from rbee_agent.contracts.pools import DeploymentRequest
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.models.estimate import PROCESS_OVERHEAD, estimate
from rbee_tui.feed.source import QueenLink
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.units import size, span
from rbee_tui.verbs.verb import Ask, Choice, Danger, Target, Verb, rbee
from rbee_tui.widgets.meters import stacked
from rbee_tui.widgets.tones import Cell

BAR: Final = 32
ANYWHERE: Final = "*"
"""The queen chooses the place."""
LOAD_SHARE: Final = 1.2
"""Memory for each byte of a file of which nothing else is known."""
DEFAULT_CONTEXT: Final = 4096
DEFAULT_SLOTS: Final = 4
"""What a hive gives a worker that is not asked for more; for planning."""


def needs(fleet: Fleet, model: str) -> int | None:
    """Bytes that a worker of the model takes: measured on one that runs, else as its file says."""
    for worker in fleet.workers.values():
        if worker.model == model and (measured := fleet.memory_bytes(worker)):
            return measured
    known = fleet.models.get(model)
    if known is None or not (known.size or known.facts):
        return None
    if known.facts is None or not known.facts.vocab_size:
        return int((known.size or 0) * LOAD_SHARE) + PROCESS_OVERHEAD
    longest = known.facts.context_length or DEFAULT_CONTEXT
    return estimate(known.facts, context=min(longest, DEFAULT_CONTEXT), slots=DEFAULT_SLOTS).total


def _device(node: NodeInfo, id: str | None) -> Device | None:
    """That device; without a name the emptiest."""
    fitting = [d for d in node.devices if id is None or d.id == id]
    return max(fitting, key=lambda d: d.memory_free, default=None)


def _roomiest(fleet: Fleet) -> NodeInfo | None:
    """The host with the emptiest device, which a queen who may choose would look at first."""
    there = [n for n in fleet.nodes.values() if n.state is NodeState.ONLINE and n.devices]
    return max(there, key=lambda n: max(d.memory_free for d in n.devices), default=None)


def _places(target: Target) -> tuple[Choice, ...]:
    """Devices of hosts that are there, those with the most room first."""
    fleet = target.view.fleet
    found = [
        (device.memory_free, f"{node.id}/{device.id}", device.name)
        for node in fleet.nodes.values()
        if node.state is NodeState.ONLINE
        for device in node.devices
    ]
    found.sort(reverse=True)
    return tuple(Choice(place, place, f"{size(free)} free, {name}") for free, place, name in found)


def _places_or_anywhere(target: Target) -> tuple[Choice, ...]:
    return (Choice(ANYWHERE, "where it fits best", "the queen chooses"), *_places(target))


def _place(target: Target) -> tuple[str | None, str | None]:
    """Host and device that were chosen."""
    node, _, device = target.arguments.get("place", ANYWHERE).partition("/")
    return (None, None) if node == ANYWHERE else (node, device or None)


def _model(target: Target) -> str:
    worker = target.view.fleet.workers.get(target.id) if target.noun == "worker" else None
    return worker.model if worker is not None else target.id


def _room(target: Target, model: str) -> list[Cell]:
    """What it takes and what is there, before and after."""
    fleet = target.view.fleet
    node_id, device_id = _place(target)
    taken = needs(fleet, model)
    told: list[Cell] = []
    if taken is not None:
        told.append(f"It takes about {size(taken)} of memory{_seconds(fleet, model)}.")
    node = fleet.nodes.get(node_id) if node_id else _roomiest(fleet)
    device = _device(node, device_id) if node is not None else None
    if node is None or device is None:
        return told
    if node_id is None:
        told.append(f"Most room is on {node.id}/{device.id}.")
    where = f"{node.id}/{device.id}"
    free = device.memory_free
    if taken is None:
        return [*told, f"{where} has {size(free)} free."]
    told += memory_before_and_after(device, taken)
    if taken <= free:
        return told
    told.append(f"{where} has {size(free)} free: {size(taken - free)} too little.")
    idle = [
        f"{w.id} ({size(fleet.memory_bytes(w))})"
        for w in fleet.workers.values()
        if w.node_id == node.id and w.state is WorkerState.READY and not fleet.slots_busy(w)
    ]
    if idle:
        told.append(f"The queen may evict idle workers there: {', '.join(idle)}.")
    return told


def _seconds(fleet: Fleet, model: str) -> str:
    """How long such a worker took to become ready, where one did."""
    took = [
        w.ready_at - w.started_at
        for w in fleet.workers.values()
        if w.model == model and w.ready_at and w.started_at and w.ready_at > w.started_at
    ]
    return f" and {span(min(took))} to load, as the others" if took else ""


def memory_before_and_after(device: Device, change: int) -> list[Cell]:
    """Two bars: the device now, and with so many bytes more (or less) taken."""
    whole = max(1, device.memory_total)
    used = device.memory_used + device.memory_reserved
    after = max(0, used + change)
    kept = min(used, after)
    full = after > whole
    rows = (
        ("now  ", ((kept, "█", "ok"), (used - kept, "█", "muted")), used),
        ("after", ((kept, "█", "ok"), (after - kept, "▒", "bad" if full else "busy")), after),
    )
    return [
        (
            (f"{label} ", "muted"),
            *stacked([(part / whole, glyph, tone) for part, glyph, tone in parts], BAR),
            (f" {size(total)} of {size(whole)}", "bad" if total > whole else ""),
            (" ▲ too much" if total > whole else "", "bad"),
        )
        for label, parts, total in rows
    ]


def _spawn_plan(target: Target) -> tuple[Cell, ...]:
    model = _model(target)
    node, device = _place(target)
    have = sum(w.model == model for w in target.view.fleet.workers.values())
    where = f"on {node}{f'/{device}' if device else ''}" if node else "where it fits best"
    return (
        f"One more worker of {model} starts {where}; now there are {have}.",
        *_room(target, model),
        "Where it does not fit, the queen says so and nothing changes.",
    )


async def _spawn(link: QueenLink, target: Target) -> str:
    model = _model(target)
    node, device = _place(target)
    wish = await link.spawn(DeploymentRequest(model=model, node_id=node, device=device))
    return f"asked for a worker of {model} ({wish.id})"


def _spawn_command(target: Target) -> str:
    node, device = _place(target)
    words = ["worker", "spawn"]
    backend, _, index = (device or "").partition(":")
    if backend:
        words.append(backend)
    words += ["--model", _model(target)]
    words += ["--host", node] if node else []
    words += ["--gpu", index] if index else []
    return rbee(*words)


def _stop_plan(target: Target) -> tuple[Cell, ...]:
    fleet = target.view.fleet
    worker = fleet.workers.get(target.id)
    if worker is None:
        return (f"The worker {target.id} stops.",)
    lines: list[Cell] = [f"{worker.id} ({worker.model} on {worker.node_id or '?'}) stops."]
    lines += _streams_move(fleet, worker)
    if memory := fleet.memory_bytes(worker):
        lines.append(f"{size(memory)} of memory becomes free on {worker.device}.")
        node = fleet.nodes.get(worker.node_id or "")
        device = _device(node, worker.device) if node is not None else None
        if device is not None:
            lines += memory_before_and_after(device, -memory)
    return tuple(lines)


def _streams_move(fleet: Fleet, worker: WorkerInfo) -> list[str]:
    busy = fleet.slots_busy(worker)
    if not busy:
        return []
    others = [
        w.id
        for w in fleet.workers.values()
        if w.model == worker.model and w.id != worker.id and w.state is WorkerState.READY
    ]
    many, s = (f"{busy} running streams", "") if busy > 1 else ("1 running stream", "s")
    if others:
        return [f"{many} move{s} to {', '.join(others)} without losing a token."]
    return [f"{many} wait{s} until there is another worker of {worker.model}."]


def _stop_refuses(target: Target) -> str | None:
    return None if target.id in target.view.fleet.workers else f"there is no worker {target.id}"


async def _stop(link: QueenLink, target: Target) -> str:
    await link.stop_worker(target.id)
    return f"stopping {target.id}"


def _move_places(target: Target) -> tuple[Choice, ...]:
    worker = target.view.fleet.workers.get(target.id)
    here = f"{worker.node_id}/{worker.device}" if worker else ""
    return tuple(choice for choice in _places(target) if choice.value != here)


def _move_plan(target: Target) -> tuple[Cell, ...]:
    worker = target.view.fleet.workers.get(target.id)
    if worker is None:
        return (f"The worker {target.id} is gone.",)
    return (
        f"1. A worker of {worker.model} starts on {target.arguments.get('place', '?')}.",
        *_room(target, worker.model),
        f"2. When it is ready, {worker.id} stops; its streams go on where they are not lost.",
        "If the new one does not come up, nothing is stopped.",
    )


async def _move(link: QueenLink, target: Target) -> str:
    """Start there, wait until it serves, stop here; on trouble there, nothing here changes."""
    model = _model(target)
    node, device = _place(target)
    before = set(target.view.fleet.workers)
    wish = await link.spawn(DeploymentRequest(model=model, node_id=node, device=device))

    def arrived(worker: WorkerInfo) -> bool:
        return (
            worker.id not in before
            and worker.model == model
            and worker.node_id == node
            and worker.state in (WorkerState.READY, WorkerState.FAILED, WorkerState.CRASH_LOOPING)
        )

    view = await target.until(lambda v: any(map(arrived, v.fleet.workers.values())))
    new = next(filter(arrived, view.fleet.workers.values()))
    if new.state is not WorkerState.READY:
        return f"{new.id} did not come up ({new.error or new.state}); {target.id} stays"
    await link.stop_worker(target.id)
    return f"{new.id} serves {model} ({wish.id}); stopping {target.id}"


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
    ask=Ask("place", "where?", _places_or_anywhere),
    about=lambda target: f"of {_model(target)}",
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
MOVE: Final = Verb(
    name="move",
    key="m",
    title="move",
    help="Start it on another device, then stop it here.",
    nouns=frozenset({"worker"}),
    danger=Danger.DESTROYS,
    plan=_move_plan,
    command=lambda target: f"{_spawn_command(target)} && {rbee('worker', 'stop', target.id)}",
    run=_move,
    refuses=_stop_refuses,
    ask=Ask("place", "move where?", _move_places),
)
