"""The reducer: (fleet, events) to fleet. Pure; replaying a recorded feed gives any screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.events import Change, FleetSnapshot, Narration
from rbee_agent.contracts.models import CatalogModel, PullProgress
from rbee_agent.contracts.nodes import NodeInfo, Telemetry, WorkerGauge
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo
from rbee_agent.contracts.workers import WorkerInfo
from rbee_tui.state.events import Event
from rbee_tui.state.fleet import HISTORY, MAX_ENDED_TASKS, MAX_NARRATION, Fleet

_NOUNS: dict[str, tuple[str, Callable[[Any], Contract]]] = {
    "node": ("nodes", NodeInfo.read),
    "worker": ("workers", WorkerInfo.read),
    "task": ("tasks", TaskInfo.read),
    "model": ("models", CatalogModel.read),
    "deployment": ("deployments", Deployment.read),
    "pull": ("pulls", PullProgress.read),
}


class _Draft:
    """A fleet while a batch is applied: each map is copied once, when first written."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.maps: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}

    def map(self, name: str) -> dict[str, Any]:
        """The map of that name, to write to."""
        if name not in self.maps:
            self.maps[name] = dict(getattr(self.fleet, name))
        copied: dict[str, Any] = self.maps[name]
        return copied

    def get(self, name: str) -> Any:
        """A plain field as it is in the draft."""
        return self.fields.get(name, getattr(self.fleet, name))

    def done(self) -> Fleet:
        """The finished fleet."""
        frozen: dict[str, Any] = {
            name: MappingProxyType(value) for name, value in self.maps.items()
        }
        return replace(self.fleet, **frozen, **self.fields)


def reduce(fleet: Fleet, event: Event) -> Fleet:
    """The fleet after one event."""
    return reduce_all(fleet, (event,))


def reduce_all(fleet: Fleet, events: Iterable[Event]) -> Fleet:
    """The fleet after a batch of events; costs one copy of each map that changed."""
    draft = _Draft(fleet)
    for event in events:
        payload = event.payload
        if isinstance(payload, FleetSnapshot):
            draft = _Draft(_from_snapshot(draft.done(), payload, event.received_at))
        elif isinstance(payload, Change):
            _change(draft, payload, event.received_at)
        elif isinstance(payload, Telemetry):
            _telemetry(draft, payload, event.received_at)
        elif isinstance(payload, Narration):
            _narrate(draft, payload)
    if "tasks" in draft.maps:
        _forget_old_tasks(draft.map("tasks"))
    return draft.done()


def count_unreadable(fleet: Fleet, count: int) -> Fleet:
    """The fleet with so many more messages counted as unreadable."""
    return replace(fleet, unreadable=fleet.unreadable + count) if count else fleet


def _keyed(items: Iterable[Any], key: Callable[[Any], str]) -> Mapping[str, Any]:
    return MappingProxyType({key(item): item for item in items})


def pull_id(pull: PullProgress, node_id: str | None = None) -> str:
    """The key of a pull in a snapshot, which carries no id of its own."""
    return f"{node_id}/{pull.model}" if node_id else pull.model


def _from_snapshot(fleet: Fleet, snapshot: FleetSnapshot, received_at: float) -> Fleet:
    """Take the snapshot whole; histories go on, because they are ours."""
    return Fleet(
        queen=snapshot.queen,
        seq=snapshot.seq,
        at=snapshot.at,
        offset=snapshot.at - received_at,
        nodes=_keyed(snapshot.nodes, lambda n: n.id),
        workers=_keyed(snapshot.workers, lambda w: w.id),
        tasks=_keyed(snapshot.tasks, lambda t: t.job_id),
        models=_keyed(snapshot.models, lambda m: m.id),
        deployments=_keyed(snapshot.deployments, lambda d: d.id),
        pulls=_keyed(snapshot.pulls, pull_id),
        heard=MappingProxyType(
            {
                node.id: received_at - max(0.0, snapshot.at - (node.last_seen_at or snapshot.at))
                for node in snapshot.nodes
            }
        ),
        history=fleet.history,
        narration=_merge_narration(fleet, snapshot),
        unreadable=fleet.unreadable,
    )


def _merge_narration(fleet: Fleet, snapshot: FleetSnapshot) -> tuple[Narration, ...]:
    """What we had and what came, once each; another epoch is another story."""
    same = fleet.queen is not None and fleet.queen.epoch == snapshot.queen.epoch
    told = {n.seq: n for n in chain(fleet.narration if same else (), snapshot.narration)}
    return tuple(told[seq] for seq in sorted(told))[-MAX_NARRATION:]


def _change(draft: _Draft, change: Change, received_at: float) -> None:
    if change.seq <= draft.get("seq"):
        return  # a repeat after a reconnect
    draft.fields.update(seq=change.seq, at=max(draft.get("at"), change.at))
    if change.noun == "queen":
        return
    name, read = _NOUNS.get(change.noun, ("others", None))
    key = change.id if read else f"{change.noun}/{change.id}"
    if change.op == "delete":
        draft.map(name).pop(key, None)
        if change.noun == "worker":
            draft.map("gauges").pop(change.id, None)
            draft.map("history").pop(f"worker/{change.id}", None)
        elif change.noun == "node":
            draft.map("heard").pop(change.id, None)
            draft.map("history").pop(f"node/{change.id}", None)
        return
    try:
        value = read(change.value) if read else dict(change.value or {})
    except ValidationError:
        draft.fields["unreadable"] = draft.get("unreadable") + 1
        return
    draft.map(name)[key] = value
    if isinstance(value, WorkerInfo):
        draft.map("gauges").pop(value.id, None)  # the whole record is newer than the gauge
    elif isinstance(value, NodeInfo):
        seen = value.last_seen_at or change.at
        draft.map("heard")[value.id] = received_at - max(0.0, change.at - seen)


def _telemetry(draft: _Draft, telemetry: Telemetry, received_at: float) -> None:
    node = draft.map("nodes").get(telemetry.node_id)
    if node is not None:
        draft.map("nodes")[node.id] = node.model_copy(
            update={
                "devices": telemetry.devices or node.devices,
                "load_1m": telemetry.load_1m if telemetry.load_1m is not None else node.load_1m,
                "disk_free": telemetry.disk_free or node.disk_free,
                "observed_at": telemetry.at,
            }
        )
        draft.map("heard")[node.id] = received_at
        used = [d.utilization for d in telemetry.devices if d.utilization is not None]
        _sample(draft, f"node/{node.id}", max(used, default=0.0))
    known = draft.maps.get("workers", draft.fleet.workers)
    for gauge in telemetry.workers:
        if gauge.id in known:
            draft.map("gauges")[gauge.id] = gauge
            _sample(draft, f"worker/{gauge.id}", gauge.tokens_per_s)
    gauges: Mapping[str, WorkerGauge] = draft.maps.get("gauges", draft.fleet.gauges)
    if telemetry.node_id == min(draft.map("nodes"), default=telemetry.node_id):
        # one sample a second for the whole: when the first node reports
        _sample(draft, "fleet", sum(g.tokens_per_s for g in gauges.values()))


def _sample(draft: _Draft, key: str, value: float) -> None:
    history = draft.map("history")
    history[key] = (*history.get(key, ())[-(HISTORY - 1) :], value)


def _narrate(draft: _Draft, narration: Narration) -> None:
    told: tuple[Narration, ...] = draft.get("narration")
    if told and narration.seq <= told[-1].seq:
        return
    draft.fields["narration"] = (*told[-(MAX_NARRATION - 1) :], narration)


def _forget_old_tasks(tasks: dict[str, TaskInfo]) -> None:
    ended = [t for t in tasks.values() if t.state.final]
    if len(ended) > MAX_ENDED_TASKS:
        ended.sort(key=lambda task: task.ended_at or 0.0)
        for task in ended[:-MAX_ENDED_TASKS]:
            del tasks[task.job_id]
