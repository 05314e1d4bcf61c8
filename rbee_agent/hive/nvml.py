"""NVIDIA GPUs by NVML: values, and the processes that hold memory. Blocks; call it in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

from rbee_agent.contracts.devices import Device, DeviceProcess


def read() -> list[Device]:
    """All GPUs in PCI bus order; none where there is no driver.

    A value that a driver does not give is None; a GPU that fell off the bus keeps its place, with
    the driver's words as its error.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        count = pynvml.nvmlDeviceGetCount()
        found = [_device(pynvml, index, driver) for index in range(count)]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
    return found


def _device(nvml: Any, index: int, driver: str) -> Device:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        return Device(
            id=f"cuda:{index}",
            backend="cuda",
            name=f"GPU {index}",
            memory_total=0,
            memory_used=0,
            memory_free=0,
            driver=driver,
            error=str(error),
        )

    def ask(call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(handle, *args)
        except nvml.NVMLError:
            return None

    use = ask(nvml.nvmlDeviceGetUtilizationRates)
    capability = ask(nvml.nvmlDeviceGetCudaComputeCapability)
    power = ask(nvml.nvmlDeviceGetPowerUsage)
    limit = ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
    temperature = ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
    return Device(
        id=f"cuda:{index}",
        backend="cuda",
        name=_text(ask(nvml.nvmlDeviceGetName) or f"GPU {index}"),
        uuid=_text(ask(nvml.nvmlDeviceGetUUID) or "") or None,
        memory_total=int(memory.total),
        memory_used=int(memory.used),
        memory_free=int(memory.free),
        utilization=None if use is None else use.gpu / 100,
        temperature_c=None if temperature is None else float(temperature),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        processes=_processes(ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()),
        driver=driver,
        compute_capability=None if capability is None else ".".join(map(str, capability)),
    )


def _processes(found: Any) -> list[DeviceProcess]:
    result = []
    for item in found:
        try:
            process = psutil.Process(item.pid)
            name, user = process.name(), process.username()
        except (psutil.Error, KeyError):
            name, user = "?", None
        used = int(item.usedGpuMemory or 0)
        result.append(DeviceProcess(pid=item.pid, name=name, user=user, used=used))
    return result


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
