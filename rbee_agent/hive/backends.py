"""Which backends this host's llama.cpp was built for, asked of a worker so that none is loaded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass

from rbee_agent.contracts.devices import Device
from rbee_agent.errors import Refused

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Backends:
    """What workers here can compute with; `problem` says why they can with nothing."""

    names: tuple[str, ...] = ()
    llama_cpp: str | None = None
    problem: str | None = None


async def probe() -> Backends:
    """Ask ``llm-worker-rbee --probe``."""
    return await asyncio.to_thread(probe_now)


def probe_now() -> Backends:
    """Ask ``llm-worker-rbee --probe`` and wait for its answer."""
    command = [sys.executable, "-m", "rbee_agent.worker", "--probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Backends(problem=f"the worker program does not start: {error}")
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"exit {done.returncode}"
        return Backends(problem=said.removeprefix("error: BACKEND_UNAVAILABLE: "))
    said_json = json.loads(done.stdout)
    return Backends(tuple(said_json["backends"]), str(said_json["llama_cpp"]))


_RUNS_ON = {"vulkan": ("cuda", "rocm")}
"""Kinds of device that a backend computes on where that is not the one of its own name."""


def choose(
    backends: Backends, devices: list[Device], *, backend: str | None, device: str | None
) -> Device:
    """The device that a worker will run on: what was asked for, or a refusal. Pure.

    Without a wish: the GPU with most free memory that a backend here can use, else the CPU.

    Raises:
        Refused: BACKEND_UNAVAILABLE, naming what there is; never the CPU in silence.
    """
    if backends.problem is not None:
        raise Refused(backends.problem, code="BACKEND_UNAVAILABLE")
    usable = [usable for item in devices for usable in _as_usable(item, backends, backend)]
    there = ", ".join(f"{item.id} ({item.name})" for item in devices if item.error is None)
    lost = "".join(f"; {item.id} ({item.name}): {item.error}" for item in devices if item.error)
    if backend is not None and not usable:
        built = ", ".join(backends.names)
        raise Refused(
            f"backend {backend} is not available here: llama.cpp was built for {built}, "
            f"and this host has {there}{lost}",
            code="BACKEND_UNAVAILABLE",
        )
    if device is not None:
        usable = [item for item in usable if _is_called(item, device)]
        if not usable:
            raise Refused(
                f"there is no usable device {device}"
                + (f" for backend {backend}" if backend is not None else "")
                + f"; this host has {there}{lost}",
                code="BACKEND_UNAVAILABLE",
            )
    if not usable:
        raise Refused(f"no device can be used; there is {there}{lost}", code="BACKEND_UNAVAILABLE")
    gpus = [item for item in usable if item.backend != "cpu"]
    return max(gpus or usable, key=lambda item: item.memory_free)


def _as_usable(device: Device, backends: Backends, backend: str | None) -> list[Device]:
    """The device under each backend that is wanted, built, and computes on its kind."""
    if device.error is not None:
        return []
    wanted = backends.names if backend is None else (backend,)
    found = [
        device.model_copy(update={"backend": name})
        for name in wanted
        if name in backends.names and device.backend in _RUNS_ON.get(name, (name,))
    ]
    # Its maker's own backend before the general one.
    return sorted(found, key=lambda item: item.backend != device.backend)


def _is_called(device: Device, name: str) -> bool:
    """Whether a person means this device: an id, a UUID, or the index among the GPUs."""
    if name.isdigit():
        return device.id.endswith(f":{name}")
    return name in (device.id, device.uuid)
