"""What llama.cpp can compute on here, by the names that users give: ``cpu``, ``cuda:N``, ``metal``.

Asked for a GPU that is not there it would quietly take the CPU; so the device is looked up first.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from llama_cpp._ggml import libggml

from rbee_agent.errors import Refused

_GPU_KINDS = {"cuda": "cuda", "rocm": "rocm", "vulkan": "vulkan", "metal": "metal", "mtl": "metal"}
"""How ggml's device names begin, and what users call it."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of ggml's list."""

    name: str
    """As users give it: ``cuda:0``, ``metal``, ``cpu``."""
    handle: int
    free: int
    """Bytes that are free on it; 0 where it does not say."""
    description: str = ""
    """What its driver calls it: ``NVIDIA GeForce RTX 4090``."""


def find(wanted: str, *, spread: bool = False) -> list[Device]:
    """The GPUs to load on; none for ``cpu``.

    Args:
        wanted: ``cpu``, ``cuda:N``, ``rocm:N``, ``vulkan:N`` or ``metal``; no number means 0.
        spread: all devices of that kind, to split the model over.

    Raises:
        Refused: there is no such device; names those that there are.
    """
    kind, _, index = wanted.partition(":")
    if wanted == "cpu":
        return []
    there = every()
    alike = [one for one in there if one.name.partition(":")[0] == kind]
    full = f"{kind}:{index or 0}"
    found = alike if spread else [one for one in alike if full in (one.name, f"{one.name}:0")]
    if not found:
        names = ", ".join(["cpu", *(one.name for one in there)])
        raise Refused(
            f"there is no device {wanted} for this build of llama.cpp: it sees {names}",
            code="BACKEND_UNAVAILABLE",
        )
    return found


def every() -> list[Device]:
    """All GPUs that this build sees."""
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_name.restype = ctypes.c_char_p
    libggml.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    handles = [libggml.ggml_backend_dev_get(i) for i in range(libggml.ggml_backend_dev_count())]
    named = [(_name(libggml.ggml_backend_dev_name(handle).decode()), handle) for handle in handles]
    return [
        Device(name, handle, _free(handle), _description(handle))
        for name, handle in named
        if name is not None
    ]


def pointers(devices: list[Device]) -> Any:
    """The list as llama.cpp takes it, ended by NULL; keep it until the model is loaded."""
    return (ctypes.c_void_p * (len(devices) + 1))(*(one.handle for one in devices), None)


def _name(ggml: str) -> str | None:
    """``CUDA1`` is ``cuda:1`` to users; None for CPUs and their helpers."""
    word = ggml.rstrip("0123456789")
    kind = _GPU_KINDS.get(word.lower())
    if kind is None:
        return None
    return kind if kind == "metal" else f"{kind}:{ggml[len(word) :] or 0}"


def _free(handle: int) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    libggml.ggml_backend_dev_memory.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t),
    ]  # fmt: skip
    libggml.ggml_backend_dev_memory.restype = None
    libggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    return free.value


def _description(handle: int) -> str:
    libggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    said: bytes = libggml.ggml_backend_dev_description(handle)
    return said.decode(errors="replace")
