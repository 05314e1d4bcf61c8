"""How far a model is from being served: what its file and its workers do now, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.queen.registry import Registry


def steps(model: str, wishes: Sequence[Deployment], registry: Registry) -> list[dict[str, Any]]:
    """What is under way for a model: its downloads, and its workers that are not ready yet.

    Each step has a `kind` (fetch or load), the host, a `text` for a person, and `progress` from 0
    to 1 where it is known.
    """
    found: list[dict[str, Any]] = []
    for node in registry.nodes.values():
        pull = node.pulls.get(model)
        if pull is None or pull.phase in ("done", "error"):
            continue
        progress = pull.done / pull.total if pull.total else None
        share = f" {progress:.0%}" if progress else ""
        text = f"{node.id} fetches {model}: {pull.phase}{share}"
        found.append(_step("fetch", node.id, text, progress) | {"phase": pull.phase})
    for name in [name for wish in wishes for name in wish.worker_ids]:
        worker = registry.workers.get(name)
        if worker is None or worker.info.state is WorkerState.READY:
            continue
        info = worker.info
        share = f" ({info.load_progress:.0%})" if info.load_progress else ""
        text = f"worker {info.id} is {info.state.value}{share}"
        step = _step("load", worker.node_id, text, info.load_progress)
        found.append(step | {"phase": info.state.value, "worker_id": info.id})
    return found


def sentence(model: str, wishes: Sequence[Deployment], registry: Registry) -> str:
    """Why a model is not served yet: the trouble, if there is any, else the first step."""
    problem = next((wish.problem for wish in wishes if wish.problem), None)
    if problem is not None:
        return problem
    first = next(iter(steps(model, wishes, registry)), None)
    return str(first["text"]) if first is not None else f"a worker of {model} is being started"


def _step(kind: str, node_id: str, text: str, progress: float | None) -> dict[str, Any]:
    step: dict[str, Any] = {"kind": kind, "node_id": node_id, "text": text}
    if progress is not None:
        step["progress"] = round(progress, 3)
    return step
