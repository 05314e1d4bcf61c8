"""Defaults that fit the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbee_agent.engine.memory import buffer_bytes, offload
from rbee_agent.engine.options import EngineOptions, physical_cores, quota_cores


@pytest.mark.parametrize(
    ("said", "cores"), [("400000 100000", 4), ("50000 100000", 1), ("max 100000", None)]
)
def test_a_container_s_quota_counts(tmp_path: Path, said: str, cores: int | None) -> None:
    """Four cores' time is four threads; half a core's one; no limit, no opinion."""
    path = tmp_path / "cpu.max"
    path.write_text(said + "\n")

    assert quota_cores(path) == cores
    assert quota_cores(tmp_path / "none") is None
    assert physical_cores() >= 1


def test_the_chunk_suits_the_device() -> None:
    """64 on a CPU, 512 on a GPU, what was asked for on both."""
    path = Path("x.gguf")

    assert EngineOptions(path).chunk == 64
    assert EngineOptions(path, device="cuda:0").chunk == 512
    assert EngineOptions(path, device="cuda:0", prefill_chunk=32).chunk == 32


def test_memory_and_offload_are_read_from_the_log() -> None:
    """As llama.cpp prints them, over several devices."""
    lines = [
        "load_tensors: offloaded 20/31 layers to GPU",
        "load_tensors:   CPU_Mapped model buffer size =    10.00 MiB",
        "load_tensors:        CUDA0 model buffer size =    20.50 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =     8.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =     2.00 MiB",
        "llama_context:        CPU  output buffer size =     1.00 MiB",
    ]

    assert offload(lines, 30) == "20/31 layers"
    assert offload([], 30) == "0/30 layers"
    assert buffer_bytes(lines) == {
        "weights": 30.5 * 2**20, "kv": 8 * 2**20, "compute": 3 * 2**20,
    }  # fmt: skip
