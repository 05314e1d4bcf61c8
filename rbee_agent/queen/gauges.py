"""The gauges of ``/metrics``: read off queue and registry when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.metrics import gauge
from rbee_agent.queen.queue import TaskQueue
from rbee_agent.queen.registry import Registry


def gauges(queue: TaskQueue, registry: Registry, catalog: Catalog) -> Iterable[Metric]:
    """Every gauge, read off the state now."""
    depth = gauge("queue_depth", "Tasks that wait.", ["priority"])
    for priority, count in queue.waiting.items():
        depth.add_metric([priority], count)
    yield depth
    workers: dict[str, int] = {}
    slots = {"busy": 0, "free": 0}
    for worker in registry.workers.values():
        workers[worker.info.state.value] = workers.get(worker.info.state.value, 0) + 1
        slots["busy"] += len(worker.in_flight)
        slots["free"] += max(0, worker.info.slots - len(worker.in_flight))
    nodes: dict[str, int] = {}
    for node in registry.nodes.values():
        nodes[node.shown_state.value] = nodes.get(node.shown_state.value, 0) + 1
    for name, text, values in (
        ("workers", "Workers by state.", workers),
        ("nodes", "Hosts by state.", nodes),
        ("slots", "Slots by state.", slots),
    ):
        family = gauge(name, text, ["state"])
        for state, count in values.items():
            family.add_metric([state], count)
        yield family
    yield _models(registry, catalog)
    yield from _devices(registry)


def _models(registry: Registry, catalog: Catalog) -> Metric:
    """Each model at the nearest that it is to being served."""
    states = {model.id: "known" for model in catalog.all()}
    states |= {name: "on disk" for node in registry.nodes.values() for name in node.models}
    for worker in registry.workers.values():
        name, ready = worker.info.model, worker.info.state is WorkerState.READY
        if ready or states.get(name) != "ready":
            states[name] = "ready" if ready else "loading"
    family = gauge("model_state", "1 for the state that a model is in.", ["model", "state"])
    for name, state in states.items():
        family.add_metric([name, state], 1)
    return family


def _devices(registry: Registry) -> Iterable[Metric]:
    memory = gauge("vram_bytes", "Device memory.", ["node", "device", "kind"])
    use = gauge("gpu_utilization_ratio", "Device utilisation.", ["node", "device"])
    heat = gauge("gpu_temperature_celsius", "Device temperature.", ["node", "device"])
    power = gauge("gpu_power_watts", "Device power.", ["node", "device"])
    for node in registry.nodes.values():
        for device in node.devices:
            labels = [node.id, device.id]
            memory.add_metric([*labels, "used"], device.memory_used)
            memory.add_metric([*labels, "reserved"], device.memory_reserved)
            memory.add_metric([*labels, "total"], device.memory_total)
            if device.utilization is not None:
                use.add_metric(labels, device.utilization)
            if device.temperature_c is not None:
                heat.add_metric(labels, device.temperature_c)
            if device.power_w is not None:
                power.add_metric(labels, device.power_w)
    kv = gauge("kv_cache_usage_ratio", "Used part of the KV cache.", ["worker"])
    for worker in registry.workers.values():
        if worker.gauge is not None and worker.gauge.kv_usage is not None:
            kv.add_metric([worker.info.id], worker.gauge.kv_usage)
    yield from (memory, use, heat, power, kv)
