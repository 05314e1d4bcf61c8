"""Device memory that must come back after a process has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rbee_agent.contracts.devices import Device
from rbee_agent.hive.devices import Devices

WAIT_S = 10.0
_LOOK_S = 0.1
_SLACK = 64 * 1024**2
"""Contexts of other processes come and go by so much."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What processes hold on one device, and how much of it nobody was named for before."""

    device: str
    pids: frozenset[int]
    unnamed: int

    def is_back(self, devices: Sequence[Device]) -> bool:
        """Whether the driver has taken it all back. Pure."""
        device = next((item for item in devices if item.id == self.device), None)
        if device is None or device.error is not None:
            return False
        gone = self.pids.isdisjoint(process.pid for process in device.processes)
        return gone and _unnamed(device) <= self.unnamed + _SLACK


def claims(devices: Sequence[Device], pids: Collection[int]) -> list[Claim]:
    """What `pids` hold on which GPUs now. Pure."""
    wanted = frozenset(pids)
    return [
        Claim(device.id, held, _unnamed(device))
        for device in devices
        if (held := wanted.intersection(process.pid for process in device.processes))
    ]


async def until_back(devices: Devices, claimed: Sequence[Claim], *, timeout: float) -> list[Claim]:
    """Wait until memory is back; returns what is not after `timeout` seconds."""
    left = list(claimed)
    try:
        async with asyncio.timeout(timeout):
            while left:
                # A driver tells nobody that memory is free again.
                found = await devices.read()
                left = [claim for claim in left if not claim.is_back(found)]
                if left:
                    await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        pass
    return left


def _unnamed(device: Device) -> int:
    return max(0, device.memory_used - sum(process.used for process in device.processes))
