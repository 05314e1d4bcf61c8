"""Apple's GPU by Apple's own tools; its memory is the machine's. Blocks; call it in a thread."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Sequence

import psutil

from rbee_agent.contracts.devices import Device
from rbee_agent.hive.nvml import broken

NAME = "Apple GPU"
TOOL_TIMEOUT_S = 10.0
_GPU_SHARE = 0.75
"""What macOS lets the GPU wire of all memory, where no limit is set by hand."""
_BUSY = re.compile(r'"Device Utilization %"\s*=\s*(\d+)')


class AppleGpu:
    """Asks ``system_profiler`` once, ``sysctl`` and ``ioreg`` each time."""

    name = NAME

    def __init__(self, system: str = platform.system()) -> None:
        self._here = system == "Darwin"
        self._chip: str | None = None

    def __call__(self) -> Sequence[Device]:
        """The GPU of an Apple chip; none on other machines."""
        if not self._here:
            return []
        try:
            if self._chip is None:
                self._chip = _chip(_run("system_profiler", "SPDisplaysDataType", "-json"))
            limit = _run("sysctl", "-n", "iogpu.wired_limit_mb").strip()
            busy = _BUSY.search(_run("ioreg", "-r", "-d", "1", "-c", "IOAccelerator"))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return [broken("metal", NAME, f"Apple's tools do not answer: {error}")]
        if not self._chip:
            return []
        memory = psutil.virtual_memory()
        mib = int(limit) if limit.isdigit() else 0
        total = mib * 1024**2 if mib else int(memory.total * _GPU_SHARE)
        free = max(0, min(total, memory.available))
        return [
            Device(
                id="metal:0",
                backend="metal",
                name=self._chip,
                memory_total=total,
                memory_used=total - free,
                memory_free=free,
                utilization=int(busy[1]) / 100 if busy else None,
            )
        ]

    def close(self) -> None:
        """Nothing is kept open."""


def _chip(said: str) -> str:
    """The name of the first GPU that speaks Metal; empty where none does."""
    for gpu in json.loads(said).get("SPDisplaysDataType", []):
        if any("metal" in f"{key} {value}".lower() for key, value in gpu.items()):
            return str(gpu.get("sppci_model") or gpu.get("_name") or NAME)
    return ""


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
    )
    return done.stdout
