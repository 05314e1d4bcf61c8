"""NVIDIA GPUs by NVML: values, and the processes that hold memory. Blocks; call it in a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rbee_agent.contracts.devices import Device, DeviceProcess
from rbee_agent.hive.holders import holder

NAME = "NVIDIA driver"


class Nvml:
    """The driver, kept open: opening it anew for each reading wakes sleeping GPUs."""

    name = NAME

    def __init__(self) -> None:
        self._open = False
        self._driver = ""

    def __call__(self) -> Sequence[Device]:
        """All GPUs that this user may see, in PCI bus order; none where there is no driver.

        A value that a driver does not give is None; a GPU that fell off the bus keeps its place,
        with the driver's words as its error. So does a driver that is there and does not start.
        """
        import pynvml

        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
                self._driver = _text(pynvml.nvmlSystemGetDriverVersion())
            count = pynvml.nvmlDeviceGetCount()
            found = [_device(pynvml, index, self._driver) for index in range(count)]
        except (
            pynvml.NVMLError_LibraryNotFound,
            pynvml.NVMLError_DriverNotLoaded,
            pynvml.NVMLError_FunctionNotFound,
        ):
            self.close()
            return []
        except pynvml.NVMLError as error:
            self.close()
            return [broken("cuda", NAME, str(error))]
        return visible(found, os.environ)

    def close(self) -> None:
        """Let the driver go; the next reading opens it again."""
        import pynvml

        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                # It is closed by now, or the driver is gone altogether.
                return


def broken(backend: str, name: str, error: str) -> Device:
    """A place for a driver that names no device and must not be missing in silence."""
    return Device(
        id=f"{backend}:0",
        backend=backend,
        name=name,
        memory_total=0,
        memory_used=0,
        memory_free=0,
        error=error,
    )


def visible(devices: Sequence[Device], env: Mapping[str, str]) -> list[Device]:
    """The devices that CUDA_VISIBLE_DEVICES leaves to this user. Pure.

    As in CUDA: indices (here in PCI bus order) or UUIDs, which may be cut short; what comes after
    the first that names no device is not seen.
    """
    wanted = env.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(devices)
    seen: list[Device] = []
    for word in (part.strip() for part in wanted.split(",")):
        match = [
            device
            for index, device in enumerate(devices)
            if word == str(index) or (word[:4] == "GPU-" and (device.uuid or "").startswith(word))
        ]
        if len(match) != 1:
            break
        seen += match
    return [device for device in devices if device in seen]


def _device(nvml: Any, index: int, driver: str) -> Device:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        lost = broken("cuda", f"GPU {index}", str(error))
        return lost.model_copy(update={"id": f"cuda:{index}", "driver": driver})

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
    compute = ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
    graphics = ask(nvml.nvmlDeviceGetGraphicsRunningProcesses) or ()
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
        processes=_processes([*compute, *graphics]),
        driver=driver,
        compute_capability=None if capability is None else ".".join(map(str, capability)),
    )


def _processes(found: list[Any]) -> list[DeviceProcess]:
    held: dict[int, int] = {}
    for item in found:
        # One that computes and draws is listed twice, with all its memory each time.
        held[item.pid] = max(held.get(item.pid, 0), int(item.usedGpuMemory or 0))
    return [holder(pid, used) for pid, used in held.items()]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
