"""Memory in numbers: what a model needs, what is free, what llama.cpp really took."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil

from rbee_agent.models.estimate import MemoryEstimate

_BUFFER = re.compile(r"(model|KV|RS|compute|output) buffer size\s*=\s*([\d.]+) MiB")
_BUFFER_USES = {"model": "weights", "KV": "kv", "RS": "kv"}
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 1024**2


def buffer_bytes(lines: Iterable[str]) -> dict[str, int]:
    """Bytes by use (weights, kv, compute) from what llama.cpp logs of the buffers it makes.

    The C API has no call for them.
    """
    found: Counter[str] = Counter()
    for line in lines:
        said = _BUFFER.search(line)
        if said is not None:
            found[_BUFFER_USES.get(said[1], "compute")] += round(float(said[2]) * _MIB)
    return dict(found)


def offload(lines: Iterable[str], layers: int) -> str:
    """``n/m layers`` as llama.cpp logs it; none of `layers` where it logs nothing."""
    for line in lines:
        said = _OFFLOADED.search(line)
        if said is not None:
            return f"{said[1]}/{said[2]} layers"
    return f"0/{layers} layers"


def free_host_bytes() -> int:
    """Memory that this process can still have, a container's limit included."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free


def shortage(need: MemoryEstimate, *, context: int, slots: int, free: int, place: str) -> str:
    """The sentence for a model that does not fit: what was needed, what was free, what helps."""
    return (
        f"{slots} slots of {context} tokens need {need.kv // _MIB:,} MiB for the KV cache and "
        f"{need.compute // _MIB:,} MiB to compute, beside {need.weights // _MIB:,} MiB of weights; "
        f"{free // _MIB:,} MiB are free on {place}. Take fewer slots, a smaller context or a "
        "smaller KV type"
    )
