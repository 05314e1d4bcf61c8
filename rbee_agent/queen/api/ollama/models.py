"""Models as Ollama tells of them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from rbee_agent.adapters.base import ModelWords
from rbee_agent.contracts.models import CatalogModel, GgufFacts
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.queen.service import Queen

_LATEST = ":latest"
_FAR = 3650 * 24 * 3600.0


def plain_name(queen: Queen, name: str) -> str:
    """The name without the tag that Ollama's tools put behind it."""
    bare = name.removesuffix(_LATEST)
    return bare if bare != name and queen.catalog.find(name) is None else name


def tags(queen: Queen) -> list[dict[str, Any]]:
    """Every model that a request may name."""
    return [
        {
            "name": model.id,
            "model": model.id,
            "modified_at": _time(queen.started_at),
            "size": _size(model),
            "digest": model.sha256 or model.fingerprint or "",
            "details": details(model.facts),
        }
        for model in queen.catalog.all()
        if model.state == "Active"
    ]


def running(queen: Queen) -> list[dict[str, Any]]:
    """The models that workers have now, one entry for each worker."""
    now = queen.clock.monotonic()
    shown = []
    for worker in queen.registry.workers.values():
        if worker.info.state is not WorkerState.READY:
            continue
        model = queen.catalog.find(worker.info.model)
        left = _until_unload(queen, worker.info.id, worker.info.model, now - worker.last_used)
        shown.append(
            {
                "name": worker.info.model,
                "model": worker.info.model,
                "size": worker.memory,
                "size_vram": 0 if worker.info.device == "cpu" else worker.memory,
                "digest": (model.sha256 if model else None) or worker.info.fingerprint or "",
                "details": details(queen.catalog.facts(worker.info.model)),
                "context_length": worker.info.context,
                "expires_at": _time(queen.clock.utc() + left),
            }
        )
    return shown


def show(
    queen: Queen, model: CatalogModel | None, name: str, words: ModelWords | None
) -> dict[str, Any]:
    """One model: what its file says of itself."""
    facts = queen.catalog.facts(name)
    skills = ["completion"]
    if facts is not None and facts.pooling not in (None, "none"):
        skills = ["embedding"]
    if words is not None and "tools" in words.chat_template:
        skills.append("tools")
    return {
        "license": (model.license if model else None) or "",
        "modelfile": f"# rbee knows no such files\nFROM {name}\n",
        "parameters": "",
        "template": words.chat_template if words is not None else "",
        "details": details(facts),
        "model_info": {} if facts is None else _info(facts),
        "capabilities": skills,
        "modified_at": _time(queen.started_at),
    }


def details(facts: GgufFacts | None) -> dict[str, Any]:
    """Family, size and quantization."""
    if facts is None:
        return {"format": "gguf"}
    return {
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": _parameters(facts.parameters),
        "quantization_level": facts.quantization or "",
    }


def _info(facts: GgufFacts) -> dict[str, Any]:
    kind = facts.architecture
    return {
        "general.architecture": kind,
        "general.parameter_count": facts.parameters,
        f"{kind}.context_length": facts.context_length,
        f"{kind}.embedding_length": facts.embedding_length,
        f"{kind}.block_count": facts.layers,
        f"{kind}.attention.head_count": facts.heads,
        f"{kind}.attention.head_count_kv": facts.heads_kv,
        f"{kind}.vocab_size": facts.vocab_size,
    }


def _parameters(count: int) -> str:
    for size, letter in ((10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + letter
    return str(count)


def _size(model: CatalogModel) -> int:
    return model.size or (model.facts.size if model.facts is not None else 0)


def _until_unload(queen: Queen, worker_id: str, model: str, idle: float) -> float:
    """Seconds until a worker goes if nobody asks for it; years where it stays."""
    wish = queen.deployments.wishes.behind(worker_id)
    if wish is None or not wish.on_demand:
        return _FAR
    entry = queen.catalog.find(model)
    usual = (entry.idle_unload_s if entry else None) or queen.settings.idle_unload_s
    limit = queen.deployments.idle_limits.get(model, usual)
    return _FAR if math.isinf(limit) else max(0.0, limit - idle)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
