"""AMD GPUs by sysfs, as the amdgpu driver shows them: no library, no tool, no root."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rbee_agent.contracts.devices import Device, DeviceProcess
from rbee_agent.hive.holders import holder

NAME = "AMD driver"
_AMD = "0x1002"
_CARD = re.compile(r"card\d+")


class AmdGpu:
    """Reads ``/sys/class/drm`` and ``/sys/class/kfd``."""

    name = NAME

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self._sys = sys

    def __call__(self) -> Sequence[Device]:
        """All AMD GPUs in PCI bus order; none where there is none. What is not told is None."""
        cards = {
            card.resolve(): card
            for path in self._sys.glob("class/drm/card*")
            if _CARD.fullmatch(path.name) and _read(card := path / "device", "vendor") == _AMD
        }
        held = self._held()
        return [
            _device(index, address, held) for index, address in enumerate(sorted(cards, key=str))
        ]

    def close(self) -> None:
        """Nothing is kept open."""

    def _held(self) -> dict[str, dict[int, int]]:
        """Bytes of VRAM by PCI address and process, from the compute driver's own list."""
        kfd = self._sys / "class/kfd/kfd"
        addresses = {}
        for node in kfd.glob("topology/nodes/*"):
            gpu, facts = _read(node, "gpu_id"), _properties(node / "properties")
            if gpu not in (None, "0") and "location_id" in facts:
                where = facts["location_id"]
                addresses[gpu] = (
                    f"{facts.get('domain', 0):04x}:{where >> 8 & 0xFF:02x}:"
                    f"{where >> 3 & 0x1F:02x}.{where & 0x7}"
                )
        held: dict[str, dict[int, int]] = {}
        for path in kfd.glob("proc/*/vram_*"):
            address = addresses.get(path.name.removeprefix("vram_"))
            used = _number(path.parent, path.name)
            if address is not None and used and path.parent.name.isdigit():
                held.setdefault(address, {})[int(path.parent.name)] = used
        return held


def _device(index: int, card: Path, held: dict[str, dict[int, int]]) -> Device:
    total, used = _number(card, "mem_info_vram_total"), _number(card, "mem_info_vram_used")
    gone = total is None or used is None
    busy = _number(card, "gpu_busy_percent")
    sensors = next(iter(sorted(card.glob("hwmon/hwmon*"))), card)
    heat, limit = _number(sensors, "temp1_input"), _number(sensors, "power1_cap")
    power = _number(sensors, "power1_average")
    if power is None:
        power = _number(sensors, "power1_input")
    serial = _read(card, "unique_id")
    return Device(
        id=f"rocm:{index}",
        backend="rocm",
        name=_read(card, "product_name") or f"AMD GPU {_read(card, 'device') or index}",
        uuid=f"GPU-{serial.removeprefix('0x')}" if serial else None,
        memory_total=total or 0,
        memory_used=used or 0,
        memory_free=0 if total is None or used is None else max(0, total - used),
        utilization=None if busy is None else busy / 100,
        temperature_c=None if heat is None else heat / 1000,
        power_w=None if power is None else power / 1e6,
        power_limit_w=None if limit is None else limit / 1e6,
        processes=_processes(held.get(card.name, {})),
        error="the driver does not tell its memory: it is reset, or fell off" if gone else None,
    )


def _processes(held: dict[int, int]) -> list[DeviceProcess]:
    return [holder(pid, used) for pid, used in sorted(held.items())]


def _read(folder: Path, name: str) -> str | None:
    try:
        return (folder / name).read_text().strip() or None
    except OSError:
        return None


def _number(folder: Path, name: str) -> int | None:
    text = _read(folder, name)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _properties(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in (_read(path.parent, path.name) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
