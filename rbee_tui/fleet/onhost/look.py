"""The doctor's eyes on a host: disk, noexec, GPU drivers, clock, ports, what is installed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rbee_tui.fleet import preflight
from rbee_tui.fleet.onhost import daemon, places

_PROBE_S = 10.0


def look(hive_port: int) -> dict[str, Any]:
    """Everything the keeper judges a host by."""
    return {
        "facts": {**preflight.facts(), "cpu": cpu_features(), "uid": os.getuid()},
        "checks": [
            check._asdict()
            for check in [
                preflight.check_python(),
                preflight.check_venv(),
                preflight.check_disk(str(places.data()), True),
                preflight.check_compiler(),
                preflight.check_memory(),
                check_exec(),
                check_port(hive_port),
            ]
        ],
        "backend": backend(),
        "time": time.time(),
        "installed": installed(),
        "versions": versions(),
        "hive": daemon.status("hive"),
        "systemd": daemon.systemd_usable(),
    }


def check_exec() -> preflight.Check:
    """Whether programs below the data folder may be run (a home mounted noexec forbids it)."""
    folder = places.data()
    there = folder
    while not there.is_dir():
        there = there.parent
    probe = there / f".rbee-exec-{os.getpid()}"
    try:
        probe.write_text("#!/bin/sh\nexit 0\n")
        probe.chmod(0o700)
        subprocess.run([str(probe)], check=True, timeout=_PROBE_S)
    except PermissionError:
        return preflight.Check(
            "exec",
            False,
            f"programs may not run in {there} (mounted noexec?)",
            "give rbee a folder on another disk: make ~/.local/share/rbee a link to one there, "
            "or mount the home with exec",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return preflight.Check("exec", False, f"{there}: {error}", "look who may write there")
    finally:
        probe.unlink(missing_ok=True)
    return preflight.Check("exec", True, f"programs run in {there}")


def check_port(port: int) -> preflight.Check:
    """Whether the hive's port is free, or the hive's own."""
    if daemon.status("hive").get("running"):
        return preflight.Check("port", True, f"127.0.0.1:{port} is the hive's")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return preflight.Check(
                "port",
                False,
                f"127.0.0.1:{port}: {error.strerror}",
                "choose another one: rbee hive add NAME --hive-port N",
            )
    return preflight.Check("port", True, f"127.0.0.1:{port} is free")


def backend() -> dict[str, Any]:
    """The best backend that the drivers allow, how it was found, and what its build needs."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return {"name": "metal", "found": platform.processor(), "build": True}
    nvidia = _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    if nvidia:
        return {"name": "cuda", "found": nvidia, "build": _compiler("nvcc", "/usr/local/cuda/bin")}
    if Path("/sys/class/kfd/kfd/topology/nodes").is_dir() and _compiler("hipcc", "/opt/rocm/bin"):
        return {"name": "rocm", "found": "amdgpu with ROCm", "build": True}
    if _output(["vulkaninfo", "--summary"]) and shutil.which("glslc"):
        return {"name": "vulkan", "found": "vulkaninfo and glslc", "build": True}
    return {"name": "cpu", "found": platform.machine(), "build": True}


def cpu_features() -> str:
    """The CPU's instruction sets: code compiled for one CPU may not run on a lesser one."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.split(":", 1)[1].split()))
    except OSError:
        pass
    return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()


def installed() -> dict[str, Any] | None:
    """What ``current`` points to, as its installation wrote it."""
    try:
        said: dict[str, Any] = json.loads((places.current() / places.WHOLE).read_text())
    except (OSError, ValueError):
        return None
    return said


def versions() -> list[str]:
    """The names of the versions that lie there whole, in use or not."""
    return sorted(path.parent.name for path in places.data().glob(f"versions/*/{places.WHOLE}"))


def _compiler(name: str, folder: str) -> bool:
    return bool(shutil.which(name) or (Path(folder) / name).is_file())


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def main(arguments: dict[str, Any]) -> int:
    """Look, with ``hive_port`` from the keeper."""
    return places.perform(lambda: look(int(arguments["hive_port"])))
