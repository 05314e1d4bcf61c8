"""Device memory is promised once: two spawns at a time, foreign processes, who holds what."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import RbeeError
from tests.hive.conftest import Driver, Host
from tests.waiting import eventually

MIB = 1024**2


async def estimate(host: Host) -> int:
    """What a worker of the tiny model is estimated at."""
    info = await host.ready(backend="cpu")
    assert info.memory_estimate is not None
    await host.workers.stop(info.id)
    return info.memory_estimate


async def test_two_spawns_at_once_are_not_promised_the_same_memory(
    gpu_host: Host, driver: Driver
) -> None:
    """There is room for one and a half: one starts, the other is refused with the numbers."""
    need = await estimate(gpu_host)
    driver.set("gpu0", f"{need * 3 // 2 // MIB} 0 0 40 1 1")
    gpu_host.behave(load_s=1000)

    both = await asyncio.gather(
        gpu_host.spawn(backend="cuda", device="0"),
        gpu_host.spawn(backend="cuda", device="0"),
        return_exceptions=True,
    )

    refusals = [item for item in both if isinstance(item, RbeeError)]
    (started,) = [item for item in both if not isinstance(item, BaseException)]
    (refusal,) = refusals
    assert refusal.code == "INSUFFICIENT_VRAM"
    assert f"worker {started.id} (tiny)" in refusal.message
    assert refusal.details is not None
    assert refusal.details["need"] == need
    assert refusal.details["free"] < need


async def test_a_lease_turns_into_use_and_is_counted_once(gpu_host: Host, driver: Driver) -> None:
    """While it loads the memory is promised; what it has taken is the driver's to count."""
    need = await estimate(gpu_host)
    gpu_host.behave(load_s=1000, hold=need // 4, driver=str(driver.folder))
    info = await gpu_host.spawn(backend="cuda", device="0")
    await gpu_host.until(info.id, WorkerState.LOADING)

    async def taken() -> bool:
        return bool((await gpu_host.devices.read())[1].processes)

    await eventually(taken)
    _, gpu, _ = gpu_host.workers.with_leases(await gpu_host.devices.read())
    assert gpu.memory_reserved == need - need // 4
    assert gpu.memory_free == (24576 - 512) * MIB - need
    assert [(item.worker_id, item.used) for item in gpu.processes] == [(info.id, need // 4)]


async def test_a_ready_worker_s_memory_is_what_the_driver_says(
    gpu_host: Host, driver: Driver
) -> None:
    """VRAM and not the process's RAM is what is reported for a GPU."""
    gpu_host.behave(hold=123 * MIB, driver=str(driver.folder))
    info = await gpu_host.ready(backend="cuda", device="1")

    async def told() -> bool:
        gpu_host.workers.with_leases(await gpu_host.devices.read())
        return gpu_host.workers.get(info.id).info.memory_bytes == 123 * MIB

    await eventually(told)
    *_, gpu = gpu_host.workers.with_leases(await gpu_host.devices.read())
    assert (gpu.id, gpu.memory_reserved) == ("cuda:1", 0)


async def test_a_refusal_names_foreign_holders(
    gpu_host: Host, driver: Driver, sleeper: subprocess.Popen[bytes]
) -> None:
    """Need, free, and whose process has the rest, ours or not."""
    driver.set("gpu0", "1024 0 0 40 1 1")
    driver.hold(0, sleeper.pid, 1000 * MIB)

    with pytest.raises(RbeeError) as refusal:
        await gpu_host.spawn(backend="cuda", device="0")

    said = refusal.value.message
    assert refusal.value.code == "INSUFFICIENT_VRAM"
    assert "tiny with 4 slots of 4096 tokens needs about 0." in said
    assert "free are 0.02 GiB of 1.00 GiB" in said
    assert f"held by sleep (pid {sleeper.pid}) 0.98 GiB" in said
    assert gpu_host.workers.infos() == []


async def test_without_a_wish_the_gpu_with_room_is_taken(
    gpu_host: Host, driver: Driver, sleeper: subprocess.Popen[bytes]
) -> None:
    """Foreign memory on the first GPU sends the worker to the second; its UUID is kept."""
    driver.hold(0, sleeper.pid, 9000 * MIB)

    info = await gpu_host.ready()

    assert (info.device, info.backend) == ("cuda:1", "cuda")
    (start,) = gpu_host.starts
    assert start["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa0001-0000-0000-0000-000000000000"
    assert start["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert start["argv"][start["argv"].index("--device") + 1] == "cuda:0"


async def test_a_gpu_is_known_by_its_uuid_when_indices_move(gpu_host: Host, driver: Driver) -> None:
    """The first GPU vanishes and the second becomes cuda:0: its worker's lease goes with it."""
    gpu_host.behave(load_s=1000)
    info = await gpu_host.spawn(backend="cuda", device="1")
    driver.set("count", 1)
    driver.set("gpu0.uuid", 0xAAAA0001)

    _, gpu = gpu_host.workers.with_leases(await gpu_host.devices.read())

    assert gpu.id == "cuda:0"
    assert gpu.memory_reserved == info.memory_estimate


async def test_a_crashed_worker_keeps_its_lease(gpu_host: Host, driver: Driver) -> None:
    """It comes back under the same lease: nobody else is promised its memory meanwhile."""
    gpu_host.behave(crash=3, hold=64 * MIB, driver=str(driver.folder))
    info = await gpu_host.spawn(backend="cuda", device="0")
    await gpu_host.until(info.id, WorkerState.BACKOFF)

    _, gpu, _ = gpu_host.workers.with_leases(await gpu_host.devices.read())

    assert gpu.memory_reserved == info.memory_estimate


async def test_ram_is_leased_too(host: Host) -> None:
    """A worker on the CPU takes its cache page by page: until then the rest stays promised."""
    before = host.workers.with_leases(await host.devices.read())[0]
    info = await host.ready(slots=16)

    after = host.workers.with_leases(await host.devices.read())[0]

    assert before.memory_reserved == 0
    assert info.memory_estimate is not None
    assert 0 < after.memory_reserved <= info.memory_estimate
