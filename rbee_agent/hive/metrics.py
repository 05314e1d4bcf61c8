"""The hive's Prometheus text, from one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rbee_agent.contracts.nodes import HiveSnapshot


class _HiveCollector(Collector):
    def __init__(self, snapshot: HiveSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        node = self._snapshot.identity.node_id
        memory = GaugeMetricFamily(
            "rbee_vram_bytes", "Device memory.", labels=["node", "device", "kind"]
        )
        use = GaugeMetricFamily(
            "rbee_gpu_utilization_ratio", "Busy part of a device.", labels=["node", "device"]
        )
        heat = GaugeMetricFamily(
            "rbee_gpu_temperature_celsius", "Temperature.", labels=["node", "device"]
        )
        power = GaugeMetricFamily("rbee_gpu_power_watts", "Power.", labels=["node", "device"])
        for device in self._snapshot.devices:
            memory.add_metric([node, device.id, "used"], device.memory_used)
            memory.add_metric([node, device.id, "reserved"], device.memory_reserved)
            memory.add_metric([node, device.id, "total"], device.memory_total)
            for family, value in (
                (use, device.utilization),
                (heat, device.temperature_c),
                (power, device.power_w),
            ):
                if value is not None:
                    family.add_metric([node, device.id], value)
        states = Counter(worker.state.value for worker in self._snapshot.workers)
        workers = GaugeMetricFamily("rbee_workers", "Workers by state.", labels=["state"])
        for state, count in sorted(states.items()):
            workers.add_metric([state], count)
        yield from (memory, use, heat, power, workers)


def render(snapshot: HiveSnapshot) -> str:
    """The exposition text of one snapshot."""
    registry = CollectorRegistry()
    registry.register(_HiveCollector(snapshot))
    return generate_latest(registry).decode()
