"""The processes that hold a device's memory, by name."""

from __future__ import annotations

import psutil

from rbee_agent.contracts.devices import DeviceProcess


def holder(pid: int, used: int) -> DeviceProcess:
    """A process as people know it; one that we may not look at, or that is gone, is ``?``."""
    try:
        process = psutil.Process(pid)
        name, user = process.name(), process.username()
    except (psutil.Error, KeyError):
        return DeviceProcess(pid=pid, name="?", used=used)
    return DeviceProcess(pid=pid, name=name, user=user, used=used)
