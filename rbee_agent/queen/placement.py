"""Which worker takes a task: one pure function, and its reasons as data.

`decide` looks at the candidates of one model and answers with a worker or with why there is none.
The decision keeps what it saw (views are immutable), so `explain` can say later, to a person, why
each candidate was or was not taken, without having cost anything at the time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.tasks import PlacementWish

CANDIDATES = 64
"""Most candidates that are scored: those that the static order of the index likes best."""

_HOPELESS = frozenset({"failed", "crash-looping", "stopped", "stopping"})

WEIGHT_LOAD = 1.0
WEIGHT_SPEED = 0.5
WEIGHT_WARM = 0.6
WEIGHT_MEMORY = 0.1


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as placement sees it; replaced, never changed."""

    id: str
    node_id: str
    pool_id: str
    model: str
    state: str
    slots: int
    busy: int
    """Slots that the queen's own tasks hold: she knows before any telemetry."""
    tokens_per_s: float = 0.0
    context: int = 0
    backend: str = "cpu"
    device: str = "cpu"
    region: str | None = None
    fingerprint: str | None = None
    profile: str | None = None
    memory_free: int = 0
    memory_total: int = 0
    node_state: str = "online"
    trouble: str | None = None
    """Why it is not trusted at the moment (it just died, or answers badly)."""
    resume: str = "ids"
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it works, or would with a free slot."""
        return self.state == "ready" and self.trouble is None and self.node_state == "online"

    @property
    def key(self) -> tuple[bool, float, float, int, str]:
        """The static order: usable first, then least loaded, fastest, most free memory, id."""
        load = self.busy / self.slots if self.slots else 1.0
        return (not self.usable, load, -self.tokens_per_s, -self.memory_free, self.id)


class ModelIndex:
    """The workers of one model in their static order; an update costs a bisection."""

    __slots__ = ("_by_id", "_order", "busy", "slots")

    def __init__(self, views: Iterable[WorkerView] = ()) -> None:
        self.slots = 0
        """Of all usable workers."""
        self.busy = 0
        """How many of those slots work."""
        self._by_id: dict[str, WorkerView] = {}
        self._order: list[tuple[bool, float, float, int, str]] = []
        for view in views:
            self.put(view)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[WorkerView]:
        """All workers, best first."""
        return (self._by_id[key[4]] for key in self._order)

    def get(self, worker_id: str) -> WorkerView | None:
        """One worker, if it has the model."""
        return self._by_id.get(worker_id)

    def put(self, view: WorkerView) -> None:
        """Add or replace a worker."""
        self.remove(view.id)
        self._by_id[view.id] = view
        insort(self._order, view.key)
        if view.usable:
            self.slots += view.slots
            self.busy += view.busy

    def remove(self, worker_id: str) -> None:
        """Take a worker out."""
        old = self._by_id.pop(worker_id, None)
        if old is None:
            return
        del self._order[bisect_left(self._order, old.key)]
        if old.usable:
            self.slots -= old.slots
            self.busy -= old.busy


@dataclass(frozen=True, slots=True)
class Need:
    """What a task asks of a worker."""

    model: str
    wish: PlacementWish = field(default_factory=PlacementWish)
    context: int = 0
    """Tokens that it needs at the very least."""
    warm_worker: str | None = None
    """Where the session's prefix lies."""
    fingerprint: str | None = None
    """Set when a stream goes on: the same model file only."""
    profile: str | None = None
    """Set when a strict stream goes on: the same exact profile only."""
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Lower is better; `parts` add up to `total`."""

    total: float
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and what was seen."""

    worker_id: str | None
    outcome: str
    """placed, wait (somebody may come free), or none (nobody of the model could ever take it)."""
    reason: str
    need: Need
    strategy: str
    candidates: tuple[WorkerView, ...]
    total: int
    """Workers of the model in the fleet; `candidates` are the best of them."""
    turn: int = 0
    at: float = 0.0
    policy: str | None = None
    """What the policy script said, where one was asked."""


def decide(
    index: ModelIndex | None,
    need: Need,
    *,
    strategy: str = "affinity",
    turn: int = 0,
    prefer: str | None = None,
) -> Decision:
    """Choose a worker.

    Args:
        index: the workers of the task's model.
        need: what the task asks.
        strategy: affinity, least-loaded, vram-aware or round-robin.
        turn: number of this decision, for round-robin.
        prefer: the worker that the policy script named; taken if it may take the task.
    """
    if index is None or not len(index):
        return Decision(None, "none", f"no worker has {need.model}", need, strategy, (), 0, turn)
    seen, usable = _candidates(index, need)
    named = next((view for view in usable if view.id == prefer), None)
    if named is not None:
        return Decision(
            named.id, "placed", "the policy chose it", need, strategy, tuple(seen), len(index), turn
        )
    if usable:
        chosen, reason = _choose(usable, need, strategy, turn)
        return Decision(chosen.id, "placed", reason, need, strategy, tuple(seen), len(index), turn)
    if not seen:
        text = f"it is pinned to worker {need.wish.worker_id}, which is not there"
        return Decision(None, "none", text, need, strategy, (), len(index), turn)
    reasons = [filter_reason(view, need) for view in seen]
    busy = [reason for reason in reasons if reason is not None and reason[0] == "slots"]
    coming = [
        reason
        for view, reason in zip(seen, reasons, strict=True)
        if reason is not None and reason[0] in ("state", "node", "trouble") and _comes_back(view)
    ]
    outcome = "wait" if busy or coming else "none"
    first = (busy or coming or [r for r in reasons if r is not None])[0]
    text = first[1] if len(seen) == 1 else f"{first[1]} (of {len(index)} workers of the model)"
    return Decision(None, outcome, text, need, strategy, tuple(seen), len(index), turn)


def usable_workers(index: ModelIndex | None, need: Need) -> list[WorkerView]:
    """The best workers that may take the task now, at most `CANDIDATES`."""
    return [] if index is None else _candidates(index, need)[1]


def filter_reason(view: WorkerView, need: Need) -> tuple[str, str] | None:
    """The filter that keeps a worker from the task, and a sentence; None where it may take it."""
    wish = need.wish
    who = f"worker {view.id}"
    if wish.mode == "pin" and (pinned := _off_pin(view, wish)) is not None:
        return "pin", pinned
    if view.pool_id in wish.avoid_pools:
        return "avoid_pools", f"the task avoids pool {view.pool_id}"
    if wish.region is not None and view.region != wish.region:
        return "region", f"{who} is in {view.region or 'no region'}, not in {wish.region}"
    if wish.device is not None and wish.device not in (view.device, view.backend):
        return "device", f"{who} computes on {view.device}, not on {wish.device}"
    if need.fingerprint is not None and view.fingerprint != need.fingerprint:
        return "fingerprint", f"{who} has another model file than the stream began with"
    if need.profile is not None and view.profile != need.profile:
        return "profile", f"{who} computes under another exact profile than the stream began with"
    if need.resumes and view.resume == "none":
        return "resume", f"{who} cannot go on with a stream that another began"
    if need.context and view.context and need.context > view.context:
        return "context", f"{who} has room for {view.context} tokens, {need.context} are needed"
    if view.node_state not in ("online", "suspect"):
        return "node", f"its host {view.node_id} is {view.node_state}"
    if view.node_state == "suspect":
        return "node", f"its host {view.node_id} has not been heard for some seconds"
    if view.state != "ready":
        return "state", f"{who} is {view.state}"
    if view.trouble is not None:
        return "trouble", f"{who}: {view.trouble}"
    if view.busy >= view.slots:
        full = "its only slot is" if view.slots == 1 else f"all its {view.slots} slots are"
        return "slots", f"{who} is busy: {full} taken"
    return None


def score(view: WorkerView, need: Need, fastest: float) -> Score:
    """How well a worker suits a task under the affinity strategy; lower is better."""
    load = view.busy / view.slots if view.slots else 1.0
    slow = 1.0 - view.tokens_per_s / fastest if fastest > 0 and view.tokens_per_s > 0 else 0.0
    full = 1.0 - view.memory_free / view.memory_total if view.memory_total else 0.0
    preferred = need.wish.mode == "prefer" and _off_pin(view, need.wish) is None
    preferred = preferred or view.pool_id in need.wish.prefer_pools
    parts = {
        "load": WEIGHT_LOAD * load,
        "speed": WEIGHT_SPEED * slow,
        "warm": -WEIGHT_WARM if view.id == need.warm_worker else 0.0,
        "memory": WEIGHT_MEMORY * full,
        "preferred": -10.0 if preferred else 0.0,
    }
    return Score(sum(parts.values()), parts)


def explain(decision: Decision) -> list[dict[str, Any]]:
    """Every candidate with its filter result or its score, best first, as data."""
    fastest = _fastest(decision.candidates)
    rows = []
    for view in decision.candidates:
        refused = filter_reason(view, decision.need)
        row: dict[str, Any] = {
            "worker_id": view.id,
            "node_id": view.node_id,
            "chosen": view.id == decision.worker_id,
            "slots": view.slots,
            "busy": view.busy,
            "tokens_per_s": round(view.tokens_per_s, 1),
        }
        if refused is not None:
            row["filter"], row["reason"] = refused
        else:
            value = score(view, decision.need, fastest)
            row["score"] = round(value.total, 4)
            row["parts"] = {name: round(part, 4) for name, part in value.parts.items() if part}
        rows.append(row)
    rows.sort(key=lambda row: (not row["chosen"], row.get("score", 1e9), row["worker_id"]))
    return rows


def as_data(decision: Decision) -> dict[str, Any]:
    """A decision as JSON-ready data: what is stored with a task that ended."""
    return {
        "outcome": decision.outcome,
        "worker_id": decision.worker_id,
        "reason": decision.reason,
        "strategy": decision.strategy,
        "policy": decision.policy,
        "at": decision.at,
        "workers_of_the_model": decision.total,
        "candidates": explain(decision),
    }


def _candidates(index: ModelIndex, need: Need) -> tuple[list[WorkerView], list[WorkerView]]:
    """Those looked at, and those of them that may take the task; a pin or a warm one first."""
    named = [need.wish.worker_id, need.warm_worker]
    seen = [view for name in named if name and (view := index.get(name)) is not None]
    usable = [view for view in seen if filter_reason(view, need) is None]
    if need.wish.mode == "pin" and need.wish.worker_id is not None:
        return seen, usable
    first = {view.id for view in seen}
    for view in index:
        if view.id in first:
            continue
        refused = filter_reason(view, need)
        if refused is None:
            usable.append(view)
            seen.append(view)
            if len(usable) >= CANDIDATES:
                break
        elif len(seen) < CANDIDATES:
            seen.append(view)
        if usable and not _may_be_usable(view):
            break
    return seen, usable


def _may_be_usable(view: WorkerView) -> bool:
    """Behind the first full or unusable worker of the static order there is no usable one."""
    return not view.key[0] and view.busy < view.slots


def _comes_back(view: WorkerView) -> bool:
    """Whether waiting for a worker is reasonable: a dead host or a broken worker is no hope."""
    return view.node_state != "offline" and view.state not in _HOPELESS


def _choose(
    usable: list[WorkerView], need: Need, strategy: str, turn: int
) -> tuple[WorkerView, str]:
    if need.wish.mode == "pin":
        return min(usable, key=lambda view: view.key), "the task is pinned to it"
    pick = STRATEGIES[strategy]
    return pick(usable, need, turn)


def _affinity(usable: list[WorkerView], need: Need, _: int) -> tuple[WorkerView, str]:
    fastest = _fastest(usable)
    chosen = min(usable, key=lambda view: (score(view, need, fastest).total, view.id))
    if chosen.id == need.warm_worker:
        return chosen, "it has the session's prefix in its cache"
    if len(usable) == 1:
        return chosen, "it is the only worker that may take it"
    return chosen, f"it has the best score of {len(usable)} workers that may take it"


def _least_loaded(usable: list[WorkerView], _: Need, __: int) -> tuple[WorkerView, str]:
    chosen = min(usable, key=lambda view: (view.busy / view.slots, view.busy, view.id))
    return chosen, f"it is the least loaded of {len(usable)} ({chosen.busy} of {chosen.slots})"


def _vram_aware(usable: list[WorkerView], _: Need, __: int) -> tuple[WorkerView, str]:
    chosen = min(usable, key=lambda view: (-view.memory_free, view.busy / view.slots, view.id))
    return chosen, f"its device has the most free memory of {len(usable)}"


def _round_robin(usable: list[WorkerView], _: Need, turn: int) -> tuple[WorkerView, str]:
    ordered = sorted(usable, key=lambda view: view.id)
    return ordered[turn % len(ordered)], f"it was its turn among {len(ordered)}"


STRATEGIES: dict[str, Callable[[list[WorkerView], Need, int], tuple[WorkerView, str]]] = {
    "affinity": _affinity,
    "least-loaded": _least_loaded,
    "vram-aware": _vram_aware,
    "round-robin": _round_robin,
}
"""The built-in strategies by name."""


def _off_pin(view: WorkerView, wish: PlacementWish) -> str | None:
    """How a worker misses what the wish names; None where it is what is named."""
    if wish.worker_id is not None and view.id != wish.worker_id:
        return f"the task is pinned to worker {wish.worker_id}"
    if wish.pool_id is not None and view.pool_id != wish.pool_id:
        return f"the task is pinned to pool {wish.pool_id}"
    if wish.device is not None and wish.device not in (view.device, view.backend):
        return f"the task is pinned to device {wish.device}"
    return None


def _fastest(views: Iterable[WorkerView]) -> float:
    return max((view.tokens_per_s for view in views), default=0.0)
