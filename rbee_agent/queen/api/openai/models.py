"""`/v1/models`: what can be served now, and what is started when it is asked for."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.models import CatalogModel
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import RbeeError
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.service import Queen
from rbee_agent.security.keys import Identity

_COMING = frozenset({WorkerState.STARTING, WorkerState.LOADING, WorkerState.BACKOFF})


def model_list(queen: Queen) -> list[dict[str, Any]]:
    """Every model that a request may name, ready ones first."""
    by_model: dict[str, list[Worker]] = {}
    for worker in queen.registry.workers.values():
        by_model.setdefault(worker.info.model, []).append(worker)
    entries = {model.id: model for model in queen.catalog.all() if model.state == "Active"}
    retired = {model.id for model in queen.catalog.all()} - entries.keys()
    names = entries.keys() | (by_model.keys() - retired)
    shown = [_entry(queen, name, entries.get(name), by_model.get(name, [])) for name in names]
    order = ("ready", "loading", "on_demand", "unavailable")
    return sorted(shown, key=lambda one: (order.index(one["status"]), one["id"]))


def model_entry(queen: Queen, name: str, who: Identity) -> dict[str, Any]:
    """One model.

    Raises:
        RbeeError: MODEL_NOT_FOUND, MODEL_DEPRECATED.
    """
    found = next((one for one in model_list(queen) if one["id"] == name), None)
    if found is not None:
        return found
    # Resolving says why not, with the nearest names.
    queen.catalog.resolve(name, who)
    raise RbeeError("no host has this model yet; a request for it has it fetched", code="NOT_FOUND")


def _entry(
    queen: Queen, name: str, model: CatalogModel | None, workers: list[Worker]
) -> dict[str, Any]:
    facts = queen.catalog.facts(name)
    ready = [worker for worker in workers if worker.info.state == WorkerState.READY]
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": int(queen.started_at),
        "owned_by": "rbee",
        "status": _status(queen, workers, ready),
        "workers": len(ready),
        "on_disk": bool(queen.catalog.where(name)),
    }
    context = max((worker.info.context for worker in ready), default=0)
    if context:
        entry["context"] = context
    if facts is not None:
        entry["context_trained"] = facts.context_length
        entry["parameters"] = facts.parameters
        entry["quantization"] = facts.quantization
        entry["chat"] = facts.has_chat_template
        entry["embeddings"] = facts.pooling not in (None, "none")
    if model is not None and model.size:
        entry["size"] = model.size
    return entry


def _status(queen: Queen, workers: list[Worker], ready: list[Worker]) -> str:
    """ready: a worker has it; loading: one is coming; on_demand: a request has one started."""
    if ready:
        return "ready"
    if any(worker.info.state in _COMING for worker in workers):
        return "loading"
    return "on_demand" if queen.registry.nodes else "unavailable"
