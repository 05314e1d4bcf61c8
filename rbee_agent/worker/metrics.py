"""The worker's Prometheus text, written from the engine's counters when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rbee_agent.engine import EngineStats


class _EngineCollector(Collector):
    def __init__(self, stats: EngineStats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        stats = self._stats
        yield CounterMetricFamily(
            "rbee_tokens_out", "Tokens generated.", value=stats.tokens_out_total
        )
        yield CounterMetricFamily("rbee_tokens_in", "Prompt tokens.", value=stats.tokens_in_total)
        yield CounterMetricFamily(
            "rbee_tokens_cached",
            "Prompt tokens that were not computed again.",
            value=stats.tokens_cached_total,
        )
        yield CounterMetricFamily("rbee_engine_steps", "Engine steps.", value=stats.step)
        slots = GaugeMetricFamily("rbee_slots", "Slots by state.", labels=["state"])
        slots.add_metric(["busy"], stats.slots_busy)
        slots.add_metric(["free"], stats.slots - stats.slots_busy)
        yield slots
        yield GaugeMetricFamily("rbee_queue_depth", "Jobs without a slot.", value=stats.queued)
        yield GaugeMetricFamily(
            "rbee_engine_decode_ratio",
            "Part of the engine's busy time spent inside llama_decode.",
            value=stats.decode_share,
        )
        memory = GaugeMetricFamily(
            "rbee_engine_memory_bytes", "Memory that llama.cpp took, by use.", labels=["use"]
        )
        for use, size in sorted(stats.memory.items()):
            memory.add_metric([use], size)
        yield memory
        yield GaugeMetricFamily(
            "rbee_kv_cache_usage_ratio", "Used part of the KV cache.", value=stats.kv_usage
        )


def render(stats: EngineStats) -> str:
    """The exposition text for one snapshot of counters."""
    registry = CollectorRegistry()
    registry.register(_EngineCollector(stats))
    return generate_latest(registry).decode()
