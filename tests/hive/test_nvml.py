"""NVIDIA GPUs, through the real bindings and a driver that is played in C."""

from __future__ import annotations

import os
import subprocess

import pytest

from rbee_agent.contracts.devices import Device
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.nvml import Nvml
from tests.hive.conftest import Driver
from tests.waiting import eventually

MIB = 1024**2


def read() -> list[Device]:
    nvml = Nvml()
    try:
        return list(nvml())
    finally:
        nvml.close()


def test_every_value_arrives_in_its_unit(driver: Driver) -> None:
    """Bytes, ratios, degrees and watts, by UUID."""
    driver.set("gpu1", "8192 1024 75 61 120500 250000")

    first, second = read()

    assert (first.id, first.uuid, first.name) == (
        "cuda:0",
        "GPU-aaaa0000-0000-0000-0000-000000000000",
        "Played GPU 0",
    )
    assert (second.id, second.uuid) == ("cuda:1", "GPU-aaaa0001-0000-0000-0000-000000000000")
    assert (second.memory_total, second.memory_used, second.memory_free) == (
        8192 * MIB,
        1024 * MIB,
        7168 * MIB,
    )
    assert (second.utilization, second.temperature_c) == (0.75, 61.0)
    assert (second.power_w, second.power_limit_w) == (120.5, 250.0)
    assert (second.driver, second.compute_capability) == ("575.51.03", "8.9")


def test_processes_that_hold_memory_are_named(
    driver: Driver, sleeper: subprocess.Popen[bytes]
) -> None:
    """Whatever computes or draws there, with name, user and bytes; once where it does both."""
    driver.hold(0, sleeper.pid, 700 * MIB)
    driver.hold(0, sleeper.pid, 700 * MIB, draws=True)
    driver.hold(1, os.getpid(), 5 * MIB, draws=True)

    first, second = read()

    (held,) = first.processes
    assert (held.pid, held.name, held.used) == (sleeper.pid, "sleep", 700 * MIB)
    assert held.user
    assert [process.pid for process in second.processes] == [os.getpid()]


def test_what_a_driver_does_not_tell_is_none(driver: Driver) -> None:
    """A card without sensors is still a card."""
    driver.set("gpu0.silent")

    first, second = read()

    assert (first.utilization, first.temperature_c, first.power_w) == (None, None, None)
    assert first.compute_capability is None
    assert first.memory_total == 24576 * MIB
    assert first.error is None
    assert second.temperature_c == 40.0


def test_a_gpu_that_fell_off_the_bus_keeps_its_place(driver: Driver) -> None:
    """The other one goes on under its own id, and the lost one says why it is lost."""
    driver.set("gpu0.error", 15)

    first, second = read()

    assert (first.id, first.error, first.memory_total) == ("cuda:0", "GPU is lost", 0)
    assert (second.id, second.error) == ("cuda:1", None)


def test_without_a_driver_there_is_no_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver loaded is no error: most machines have none."""
    monkeypatch.delenv("FAKE_NVML")

    assert read() == []


def test_a_driver_that_does_not_start_is_shown(driver: Driver) -> None:
    """Updated without a reboot: GPUs must not be missing in silence."""
    driver.set("init", 18)

    (shown,) = read()

    assert "version mismatch" in str(shown.error)
    assert shown.name == "NVIDIA driver"


def test_it_is_opened_once_and_again_after_a_failure(driver: Driver) -> None:
    """Opening wakes GPUs; after an error the next reading begins anew."""
    nvml = Nvml()
    nvml()
    nvml()
    assert driver.inits == 1

    driver.set("count", 0)
    assert nvml() == []
    driver.unset("count")
    driver.set("gpu1.error", 15)
    nvml()
    nvml.close()
    driver.unset("gpu1.error")

    assert [device.error for device in nvml()] == [None, None]
    assert driver.inits == 2
    nvml.close()


async def test_a_hanging_driver_costs_its_devices_and_nothing_else(driver: Driver) -> None:
    """The host goes on, the GPUs are shown as last seen with the reason, and come back."""
    devices = Devices([Nvml()], timeout=0.2)
    assert [device.id for device in await devices.read()] == ["cpu", "cuda:0", "cuda:1"]

    driver.set("hang")
    cpu, first, second = await devices.read()
    again = await devices.read()
    driver.unset("hang")

    assert cpu.error is None
    assert "has not answered" in str(first.error)
    assert (first.uuid, second.memory_total) == (
        "GPU-aaaa0000-0000-0000-0000-000000000000",
        24576 * MIB,
    )
    assert [device.id for device in again] == ["cpu", "cuda:0", "cuda:1"]

    async def all_well() -> bool:
        return not any(device.error for device in await devices.read())

    await eventually(all_well)
    devices.close()


async def test_a_driver_that_hangs_from_the_start_is_shown(driver: Driver) -> None:
    """Nothing was seen of it yet: it still has a place and a reason."""
    driver.set("hang")
    devices = Devices([Nvml()], timeout=0.1)

    _, shown = await devices.read()

    assert "has not answered" in str(shown.error)
    driver.unset("hang")
    devices.close()


async def test_a_reader_that_throws_takes_nothing_with_it() -> None:
    """What a driver's library may raise is without end."""

    class Odd:
        name = "odd driver"

        def __call__(self) -> list[Device]:
            raise ZeroDivisionError("garbage")

        def close(self) -> None:
            """Nothing."""

    devices = Devices([Odd()])

    cpu, shown = await devices.read()

    assert cpu.memory_total > 0
    assert shown.error == "ZeroDivisionError: garbage"
    devices.close()


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (None, ["cuda:0", "cuda:1"]),
        ("", []),
        ("-1", []),
        ("1", ["cuda:1"]),
        ("1,0", ["cuda:0", "cuda:1"]),
        ("GPU-aaaa0001", ["cuda:1"]),
        ("GPU-aaaa", []),
        ("0,7,1", ["cuda:0"]),
    ],
)
def test_cuda_visible_devices_is_honoured(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, wanted: str | None, seen: list[str]
) -> None:
    """Indices or UUIDs; behind the first that names nothing there is nothing, as in CUDA."""
    if wanted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)

    assert seen == [device.id for device in read()]
