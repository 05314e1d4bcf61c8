"""The queen's Prometheus metrics: a registry of its own, the names of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_WAIT = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FAST = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)


class QueenMetrics:
    """Every counter and histogram of the queen; gauges are read off the state when asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rbee_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rbee_{name}", text, buckets=buckets, registry=self.registry)

        self.tasks_enqueued = counter("tasks_enqueued", "Tasks accepted.")
        self.tasks_started = counter("tasks_started", "Tasks given to a worker.")
        self.tasks_finished = counter("tasks_finished", "Tasks ended.", "outcome")
        self.tasks_canceled = counter("tasks_canceled", "Tasks cancelled.", "reason")
        self.tasks_rejected = counter("tasks_rejected", "Tasks refused.", "reason")
        self.tasks_resumed = counter("tasks_resumed", "Streams moved to another worker.", "reason")
        self.tokens_in = counter("tokens_in", "Prompt tokens of ended tasks.")
        self.tokens_out = counter("tokens_out", "Tokens generated for ended tasks.")
        self.tokens_cached = counter("tokens_cached", "Prompt tokens not computed again.")
        self.placement_decisions = counter(
            "placement_decisions", "Placement decisions.", "outcome", "pinned", "fallback"
        )
        self.policy_errors = counter("policy_errors", "Policy scripts that failed.")
        self.backpressure = counter(
            "admission_backpressure_events", "Times that the queue was full.", "policy"
        )
        self.audit_entries = counter("audit_entries", "Entries in the audit log.")
        self.queue_wait_seconds = histogram("queue_wait_seconds", "Acceptance to start.", _WAIT)
        self.first_token_seconds = histogram(
            "first_token_seconds", "Acceptance to first token.", _WAIT
        )
        self.inter_token_seconds = histogram(
            "inter_token_seconds", "Mean time between tokens of a task.", _WAIT
        )
        self.task_seconds = histogram("task_seconds", "Acceptance to end.", _WAIT)
        self.overhead_seconds = histogram(
            "router_overhead_seconds", "From a frame's arrival to its sending.", _FAST
        )
        self.placement_seconds = histogram("placement_seconds", "One decision.", _FAST)
        self.model_load_seconds = histogram("model_load_seconds", "Spawn to ready.", _WAIT)
        self.loop_lag = Gauge(
            "rbee_event_loop_lag_seconds", "Delay of the event loop.", registry=self.registry
        )

    def watch(self, gauges: Callable[[], Iterable[Metric]]) -> None:
        """Add gauges that are read off the state at each scrape."""
        self.registry.register(_State(gauges))

    def text(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)


class _State(Collector):
    def __init__(self, gauges: Callable[[], Iterable[Metric]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        return self._gauges()


def gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    """A gauge family under our prefix."""
    return GaugeMetricFamily(f"rbee_{name}", text, labels=labels)
