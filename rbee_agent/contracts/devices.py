"""Devices: what a host computes with, and how full it is. All sizes are bytes."""

from __future__ import annotations

from enum import StrEnum

from rbee_agent.contracts.base import Contract


class Backend(StrEnum):
    """What llama.cpp was built for."""

    CPU = "cpu"
    CUDA = "cuda"
    METAL = "metal"
    ROCM = "rocm"
    VULKAN = "vulkan"


class DeviceProcess(Contract):
    """A process that holds memory of a device."""

    pid: int
    name: str
    user: str | None = None
    used: int
    worker_id: str | None = None
    """Set where the process is one of this hive's workers."""


class Device(Contract):
    """One GPU, or the CPU with the host's RAM."""

    id: str
    """``cpu``, ``cuda:0``: index in PCI bus order."""
    backend: str
    name: str
    uuid: str | None = None
    memory_total: int
    memory_used: int
    memory_free: int
    """What a new worker can have: leases are taken off already."""
    memory_reserved: int = 0
    """Leased by the hive to workers that have not taken it yet."""
    utilization: float | None = None
    """0.0 to 1.0."""
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    processes: list[DeviceProcess] = []
    driver: str | None = None
    compute_capability: str | None = None
    threads: int | None = None
    """CPU only: physical cores this hive may use."""
    error: str | None = None
    """Why values are missing (a driver that hangs, a GPU that fell off the bus)."""
