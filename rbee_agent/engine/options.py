"""What an engine is made from, and what it says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to load a model. Sound defaults everywhere but for the file."""

    model_path: Path
    device: str = "cpu"
    """``cpu``, ``cuda:N``, ``metal``, ``vulkan:N``."""
    context: int | None = None
    """Tokens per slot; None: the model's own, at most 4096."""
    slots: int = 4
    threads: int | None = None
    """None: the physical cores that this process may use."""
    prefill_chunk: int | None = None
    """Tokens per prefill step: bounds every other stream's gap, and every cancel. None: 64 on a
    CPU, 512 on a GPU."""
    kv_type: str = "f16"
    flash_attention: bool = True
    chat_template: str | None = None
    gpu_layers: int | None = None
    """Layers on the GPU; None: all."""
    tensor_split: tuple[float, ...] = ()
    """Parts of the model for each GPU; empty: all on the one device."""
    state_dir: Path | None = None
    """Where proofs of exactness are kept; None: in memory only."""
    host_cache_bytes: int = 512 * 1024**2
    """Bound of the KV states kept in host memory for prompts that may come again."""

    @property
    def chunk(self) -> int:
        """The prefill chunk that is meant."""
        if self.prefill_chunk is not None:
            return self.prefill_chunk
        return 64 if self.device == "cpu" else 512


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters and gauges of one engine at one moment; rates are per second."""

    step: int = 0
    """Engine steps so far: it must grow while anybody waits."""
    slots: int = 0
    slots_busy: int = 0
    queued: int = 0
    context: int = 0
    """Tokens per slot."""
    device: str = "cpu"
    offload: str | None = None
    """``n/m layers``."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes by use: weights, kv, compute."""
    kv_usage: float = 0.0
    """Used part of all KV cells, cached prefixes included."""
    tokens_in_total: int = 0
    tokens_out_total: int = 0
    tokens_cached_total: int = 0
    tokens_per_s: float = 0.0
    decode_share: float = 0.0
    """Part of the busy time that was spent inside llama.cpp."""


_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores() -> int:
    """Physical cores that this process may use: hyper-threads slow llama.cpp down.

    A container's share of the processor counts too: threads beyond it would wait for each other.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return max(1, (os.cpu_count() or 2) // 2)
    siblings: set[str] = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, min(len(siblings), quota_cores(_QUOTA) or len(siblings)))


def quota_cores(path: Path) -> int | None:
    """Whole cores of a cgroup's quota, one at least; None where there is none."""
    try:
        quota, _, period = path.read_text().partition(" ")
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
