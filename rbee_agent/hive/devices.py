"""What a host computes with. CPU and RAM are always there; GPUs come from their drivers."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Protocol

import psutil

from rbee_agent.contracts.devices import Device
from rbee_agent.hive.amd import AmdGpu
from rbee_agent.hive.apple import AppleGpu
from rbee_agent.hive.nvml import Nvml, broken
from rbee_agent.observe import logs

PROBE_TIMEOUT_S = 2.0
"""A driver that takes longer hangs; its devices are shown with an error, the host goes on."""


class GpuReader(Protocol):
    """One kind of driver. Called in a thread of its own, and may block there."""

    name: str

    def __call__(self) -> Sequence[Device]:
        """Its devices now; none where there is no such driver."""

    def close(self) -> None:
        """Let go of the driver."""


class Devices:
    """Reads all devices of this host; a driver that hangs costs one thread, not the hive."""

    def __init__(
        self, readers: Sequence[GpuReader] | None = None, *, timeout: float = PROBE_TIMEOUT_S
    ) -> None:
        if readers is None:
            readers = [Nvml(), AmdGpu(), AppleGpu()]
        self._drivers = [_Driver(reader, timeout) for reader in readers]

    async def read(self) -> list[Device]:
        """All devices now; GPUs of a hanging driver as they were last seen, with the reason."""
        found = await asyncio.gather(*(driver.read() for driver in self._drivers))
        return [cpu(), *(device for devices in found for device in devices)]

    def close(self) -> None:
        """Let go of the drivers; a thread that hangs in one is left behind."""
        for driver in self._drivers:
            driver.close()


class _Driver:
    """One driver and the only thread that ever talks to it."""

    def __init__(self, reader: GpuReader, timeout: float) -> None:
        self._reader = reader
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._asked: asyncio.Future[Sequence[Device]] | None = None
        self._last: list[Device] = []

    async def read(self) -> list[Device]:
        if self._asked is None or self._asked.done():
            loop = asyncio.get_running_loop()
            self._asked = loop.run_in_executor(self._pool, self._reader)
            await asyncio.wait({self._asked}, timeout=self._timeout)
        if not self._asked.done():
            return self._without(
                f"the driver has not answered for {self._timeout:g} s or more; if it stays so, "
                "its own tool hangs too, and the host needs a reboot"
            )
        error = self._asked.exception()
        if error is not None:
            # What a driver's library may throw is without end; the host's other devices go on.
            logs.get("hive").warning("driver", name=self._reader.name, problem=repr(error))
            return self._without(f"{type(error).__name__}: {error}")
        self._last = list(self._asked.result())
        return self._last

    def close(self) -> None:
        if self._asked is None or self._asked.done():
            self._pool.submit(self._reader.close)
        self._pool.shutdown(wait=False)

    def _without(self, reason: str) -> list[Device]:
        if not self._last:
            backend = {"AMD driver": "rocm", "Apple GPU": "metal"}.get(self._reader.name, "cuda")
            return [broken(backend, self._reader.name, reason)]
        return [device.model_copy(update={"error": reason}) for device in self._last]


def cpu() -> Device:
    """The CPU with the host's RAM."""
    memory = psutil.virtual_memory()
    total, free = _within_cgroup(memory.total, memory.available)
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    try:
        allowed = len(psutil.Process().cpu_affinity() or [])
    except (AttributeError, psutil.Error):
        allowed = cores
    return Device(
        id="cpu",
        backend="cpu",
        name=_cpu_name(),
        memory_total=total,
        memory_used=total - free,
        memory_free=free,
        utilization=psutil.cpu_percent(interval=None) / 100,
        temperature_c=_cpu_temperature(),
        threads=max(1, min(cores, allowed)),
    )


def _within_cgroup(total: int, free: int, root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """A container or a systemd unit may be given less memory than the machine has."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return total, free
    folder = root / next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    while folder.is_relative_to(root):
        try:
            most = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
            cached = _file_pages((folder / "memory.stat").read_text())
        except (OSError, ValueError):
            most, used, cached = "max", 0, 0
        if most.isdigit() and int(most) < total:
            total = int(most)
            free = max(0, min(free, total - used + cached))
        folder = folder.parent
    return total, free


def _file_pages(stat: str) -> int:
    """Bytes of memory.stat that the kernel gives back when they are needed."""
    facts = dict(line.split() for line in stat.splitlines() if line.count(" ") == 1)
    return int(facts.get("inactive_file", 0)) + int(facts.get("active_file", 0))


@cache
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
