"""What a host computes with. CPU and RAM are always there; GPUs come from their drivers."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from rbee_agent.contracts.devices import Device
from rbee_agent.hive import nvml

PROBE_TIMEOUT_S = 2.0
"""A driver that takes longer hangs; its devices are shown with an error, the host goes on."""

GpuReader = Callable[[], Sequence[Device]]


class Devices:
    """Reads all devices of this host; a driver that hangs costs one thread, not the hive."""

    def __init__(self, gpus: GpuReader = nvml.read, *, timeout: float = PROBE_TIMEOUT_S) -> None:
        self._gpus = gpus
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._stuck: asyncio.Future[Sequence[Device]] | None = None
        self._last: list[Device] = []

    async def read(self) -> list[Device]:
        """All devices now; GPUs of a hanging driver as they were last seen, with the reason."""
        return [cpu(), *await self._read_gpus()]

    def close(self) -> None:
        """Let go of the thread; one that hangs in a driver is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _read_gpus(self) -> list[Device]:
        if self._stuck is not None and not self._stuck.done():
            return self._hanging()
        loop = asyncio.get_running_loop()
        self._stuck = loop.run_in_executor(self._pool, self._gpus)
        done, _ = await asyncio.wait({self._stuck}, timeout=self._timeout)
        if not done:
            return self._hanging()
        self._last = list(self._stuck.result())
        return self._last

    def _hanging(self) -> list[Device]:
        reason = f"the driver has not answered for {self._timeout:g} s or more"
        return [device.model_copy(update={"error": reason}) for device in self._last]


def cpu() -> Device:
    """The CPU with the host's RAM."""
    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    try:
        allowed = len(psutil.Process().cpu_affinity() or [])
    except (AttributeError, psutil.Error):
        allowed = cores
    return Device(
        id="cpu",
        backend="cpu",
        name=_cpu_name(),
        memory_total=memory.total,
        memory_used=memory.total - memory.available,
        memory_free=memory.available,
        utilization=psutil.cpu_percent(interval=None) / 100,
        temperature_c=_cpu_temperature(),
        threads=max(1, min(cores, allowed)),
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def _cpu_temperature() -> float | None:
    sensors = getattr(psutil, "sensors_temperatures", None)
    if sensors is None:
        return None
    try:
        found = sensors()
    except OSError:
        return None
    for name in ("coretemp", "k10temp", "cpu_thermal", "zenpower"):
        if found.get(name):
            return float(found[name][0].current)
    return None
