"""What this installation can compute with, found without loading a model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

from rbee_agent.errors import Refused

INSTALL_HINT = "install it with: pip install 'rbee[llama]' (needs a C++ compiler)"

_BACKEND_OF = {"cuda": "cuda", "metal": "metal", "rocm": "rocm", "hip": "rocm", "vulkan": "vulkan"}


def probe() -> dict[str, Any]:
    """Backends and version of the llama.cpp that is installed, the devices it sees.

    Raises:
        Refused: llama-cpp-python is not installed, or its library does not load; says what to do.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise Refused(
            f"llama-cpp-python is not installed; {INSTALL_HINT}", code="BACKEND_UNAVAILABLE"
        )
    try:
        import llama_cpp
    except (OSError, RuntimeError, ImportError) as error:
        raise Refused(
            f"llama-cpp-python does not load: {error}; {INSTALL_HINT}", code="BACKEND_UNAVAILABLE"
        ) from error
    info = llama_cpp.llama_print_system_info().decode(errors="replace")
    found = {"cpu"} | {name for word, name in _BACKEND_OF.items() if word in info.lower()}
    return {
        "backends": sorted(found),
        "llama_cpp": importlib.metadata.version("llama-cpp-python"),
        "system_info": info,
        "gpu_offload": bool(llama_cpp.llama_supports_gpu_offload()),
    }
