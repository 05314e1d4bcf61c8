"""Device memory as it is promised: what is free for a new worker, and who has the rest."""

from __future__ import annotations

from collections.abc import Sequence

from rbee_agent.contracts.devices import Device
from rbee_agent.hive.disk import gib
from rbee_agent.hive.worker import HostedWorker


def applied(device: Device, workers: Sequence[HostedWorker]) -> Device:
    """A device with what is promised on it taken from what is free, and our workers named.

    Each worker also learns what the driver says that it holds.
    """
    there = _on(device, workers)
    by_pid = {worker.record.pid: worker for worker in there if worker.record.pid is not None}
    named = []
    for process in device.processes:
        worker = by_pid.get(process.pid)
        if worker is not None:
            worker.device_bytes = process.used or None
            process = process.model_copy(update={"worker_id": worker.record.id})
        named.append(process)
    reserved = sum(worker.reserved for worker in there)
    return device.model_copy(
        update={
            "memory_reserved": reserved,
            "memory_free": max(0, device.memory_free - reserved),
            "processes": named,
        }
    )


def holders(device: Device, workers: Sequence[HostedWorker]) -> list[str]:
    """Who has memory of a device, or was promised some, with how much."""
    mine = [
        f"worker {worker.record.id} ({worker.record.model}) "
        f"{gib(max(worker.info.memory_bytes or 0, worker.record.memory_estimate))}"
        for worker in _on(device, workers)
        if worker.reserved or worker.record.pid is not None
    ]
    others = [
        f"{process.name} (pid {process.pid}) {gib(process.used)}"
        for process in device.processes
        if process.worker_id is None
    ]
    return mine + others


def _on(device: Device, workers: Sequence[HostedWorker]) -> list[HostedWorker]:
    """The workers of a device, by its UUID where it has one."""
    return [
        worker
        for worker in workers
        if (worker.record.device_uuid or worker.record.device)
        == (device.uuid if worker.record.device_uuid else device.id)
    ]
