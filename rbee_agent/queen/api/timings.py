"""`timings`, as llama.cpp's server tells them in each of its APIs."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.frames import EndFrame


def timings(end: EndFrame) -> dict[str, Any]:
    """How long reading and making took; what came out of a cache was not read."""
    read = max(0, end.tokens_in - end.tokens_cached)
    reading, making = end.prefill_time_ms or 0, end.decode_time_ms
    return {
        "cache_n": end.tokens_cached,
        "prompt_n": read,
        "prompt_ms": reading,
        "prompt_per_token_ms": _each(reading, read),
        "prompt_per_second": _rate(read, reading),
        "predicted_n": end.tokens_out,
        "predicted_ms": making,
        "predicted_per_token_ms": _each(making, end.tokens_out),
        "predicted_per_second": _rate(end.tokens_out, making),
    }


def _each(ms: float, count: int) -> float:
    return round(ms / count, 3) if count else 0.0


def _rate(count: int, ms: float) -> float:
    return round(count / ms * 1000, 2) if ms else 0.0
