"""AMD by a sysfs tree, Apple by tools that are played, and the CPU that is always there."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from rbee_agent.hive import devices as hive_devices
from rbee_agent.hive.amd import AmdGpu
from rbee_agent.hive.apple import AppleGpu
from rbee_agent.hive.devices import Devices

GIB = 1024**3


def plant(sys: Path, files: dict[str, object]) -> None:
    for name, value in files.items():
        path = sys / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A machine with an AMD card, an AMD card that answers nothing, and an Intel one."""
    root = tmp_path / "sys"
    plant(
        root,
        {
            "devices/pci/0000:03:00.0/vendor": "0x1002",
            "devices/pci/0000:03:00.0/device": "0x744c",
            "devices/pci/0000:03:00.0/product_name": "Radeon RX 7900 XTX",
            "devices/pci/0000:03:00.0/unique_id": "a1b2c3d4e5f60718",
            "devices/pci/0000:03:00.0/mem_info_vram_total": 24 * GIB,
            "devices/pci/0000:03:00.0/mem_info_vram_used": 3 * GIB,
            "devices/pci/0000:03:00.0/gpu_busy_percent": 37,
            "devices/pci/0000:03:00.0/hwmon/hwmon4/temp1_input": 52000,
            "devices/pci/0000:03:00.0/hwmon/hwmon4/power1_average": 91000000,
            "devices/pci/0000:03:00.0/hwmon/hwmon4/power1_cap": 303000000,
            "devices/pci/0000:43:00.0/vendor": "0x1002",
            "devices/pci/0000:43:00.0/device": "0x73bf",
            "devices/pci/0000:00:02.0/vendor": "0x8086",
            "class/kfd/kfd/topology/nodes/0/gpu_id": 0,
            "class/kfd/kfd/topology/nodes/1/gpu_id": 51234,
            "class/kfd/kfd/topology/nodes/1/properties": "domain 0\nlocation_id 768\nname gfx1100",
            f"class/kfd/kfd/proc/{os.getpid()}/vram_51234": 2 * GIB,
            "class/kfd/kfd/proc/999999/vram_99": 5,
            "class/drm/card1-DP-1/status": "connected",
        },
    )
    for name, address in (("card0", "00:02.0"), ("card2", "43:00.0"), ("card1", "03:00.0")):
        folder = root / "class/drm" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device").symlink_to(root / f"devices/pci/0000:{address}")
    return root


def test_an_amd_card_as_its_driver_shows_it(sys: Path) -> None:
    """Memory, load, heat, power, and who holds memory, by sysfs alone."""
    first, _ = AmdGpu(sys)()

    assert (first.id, first.backend, first.name) == ("rocm:0", "rocm", "Radeon RX 7900 XTX")
    assert first.uuid == "GPU-a1b2c3d4e5f60718"
    assert (first.memory_total, first.memory_used, first.memory_free) == (
        24 * GIB,
        3 * GIB,
        21 * GIB,
    )
    assert (first.utilization, first.temperature_c) == (0.37, 52.0)
    assert (first.power_w, first.power_limit_w) == (91.0, 303.0)
    assert [(item.pid, item.used) for item in first.processes] == [(os.getpid(), 2 * GIB)]
    assert first.error is None


def test_an_amd_card_that_tells_nothing_is_shown_with_the_reason(sys: Path) -> None:
    """In PCI order, never missing, never offered."""
    _, second = AmdGpu(sys)()

    assert (second.id, second.name) == ("rocm:1", "AMD GPU 0x73bf")
    assert "does not tell its memory" in str(second.error)
    assert second.utilization is None


def test_no_amd_card_no_device(tmp_path: Path) -> None:
    """Most machines have none."""
    assert AmdGpu(tmp_path)() == []


def play(folder: Path, name: str, output: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
    path.chmod(0o755)


def test_an_apple_chip_by_its_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, the memory that the GPU may wire, and how busy it is."""
    gpu = {"_name": "kHW_AppleM3MaxItem", "sppci_model": "Apple M3 Max", "spdisplays_mtlgpufamily"
           "support": "spdisplays_metal3"}  # fmt: skip
    play(tmp_path, "system_profiler", json.dumps({"SPDisplaysDataType": [gpu]}))
    play(tmp_path, "sysctl", "1024")
    play(tmp_path, "ioreg", '"PerformanceStatistics" = {"Device Utilization %"=42,"x"=1}')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    (found,) = AppleGpu("Darwin")()

    assert (found.id, found.backend, found.name) == ("metal:0", "metal", "Apple M3 Max")
    assert found.memory_total == 1024 * 1024**2
    assert found.utilization == 0.42
    assert found.memory_free <= found.memory_total


def test_a_mac_whose_tools_fail_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other machine is asked at all."""
    play(tmp_path, "system_profiler", "no JSON")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    (found,) = AppleGpu("Darwin")()

    assert "do not answer" in str(found.error)
    assert AppleGpu("Linux")() == []


async def test_the_cpu_is_always_there() -> None:
    """Without any driver: RAM that adds up, cores, and a name."""
    devices = Devices([])

    (cpu,) = await devices.read()

    assert (cpu.id, cpu.backend) == ("cpu", "cpu")
    assert cpu.memory_free + cpu.memory_used == cpu.memory_total > 0
    assert cpu.threads is not None
    assert cpu.threads >= 1
    assert cpu.name
    devices.close()


def test_a_container_s_limit_is_the_host_s_memory(tmp_path: Path) -> None:
    """What the control group allows, pages of files counted as free; without one, everything."""
    plant(
        tmp_path,
        {
            "memory.max": 4 * GIB,
            "memory.current": 3 * GIB,
            "memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 0",
        },
    )

    assert hive_devices._within_cgroup(64 * GIB, 60 * GIB, tmp_path) == (4 * GIB, 2 * GIB)
    (tmp_path / "memory.max").write_text("max")
    assert hive_devices._within_cgroup(64 * GIB, 60 * GIB, tmp_path) == (64 * GIB, 60 * GIB)


async def test_each_driver_is_asked_at_the_same_time() -> None:
    """One that hangs does not keep the others waiting for their turn."""
    import threading

    both = threading.Barrier(2, timeout=20)

    class Waits:
        name = "waits"

        def __call__(self) -> list[object]:
            both.wait()
            return []

        def close(self) -> None:
            """Nothing."""

    devices = Devices([Waits(), Waits()])  # type: ignore[list-item]
    async with asyncio.timeout(30):
        assert len(await devices.read()) == 1
    devices.close()
