"""What a machine must have before rbee is installed on it; standard library only.

It runs before anything is installed, with whatever Python a machine has: locally for `make`, and
piped through SSH to a bare host (``python3 - --json < preflight.py``). So its syntax stays old.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

OLDEST_PYTHON = (3, 11)
DISK_WITH_ENGINE = 3 * 1024**3
DISK_KEEPER_ONLY = 1024**3
_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11", "python3", "python")


class Check(NamedTuple):
    """One thing looked at: what was found and, where it will not do, what to do."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def run_checks(folder: str, engine: bool = True) -> list[Check]:
    """Look at this machine.

    Args:
        folder: where the virtual environment will stand.
        engine: whether llama.cpp will be compiled here too.
    """
    checks = [check_python(), check_venv(), check_disk(folder, engine)]
    if engine:
        checks += [check_compiler(), check_memory()]
    return checks


def check_python() -> Check:
    """Python 3.11 or later; names the others it found."""
    here = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("python", True, here)
    better = find_python()
    if better:
        return Check("python", False, here, "use the newer one: make PYTHON=" + better)
    return Check(
        "python",
        False,
        here + " (" + sys.executable + ")",
        "install Python 3.11 or later: "
        + _install("python3 python3-venv", "python3", "python@3.12"),
    )


def check_venv() -> Check:
    """The modules that make a virtual environment (Debian keeps them in a package apart)."""
    try:
        import ensurepip
        import venv
    except ImportError as error:
        return Check(
            "venv",
            False,
            str(error),
            "install it: " + _install("python3-venv", "python3", "python"),
        )
    return Check("venv", True, venv.__name__ + ", " + ensurepip.__name__)


def check_disk(folder: str, engine: bool) -> Check:
    """Room for the packages, the compilation and the demo model."""
    need = DISK_WITH_ENGINE if engine else DISK_KEEPER_ONLY
    path = Path(folder).absolute()
    while not path.is_dir():
        path = path.parent
    free = shutil.disk_usage(str(path)).free
    found = f"{free / 1024**3:.1f} GiB free in {path}"
    if free >= need:
        return Check("disk", True, found)
    return Check("disk", False, found, f"free at least {need / 1024**3:.0f} GiB there")


def check_compiler() -> Check:
    """A C++ compiler: llama.cpp is compiled for exactly this machine (cmake comes with pip)."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path and _runs([path, "--version"]):
            return Check("compiler", True, path)
    return Check(
        "compiler",
        False,
        "no C++ compiler on PATH",
        "install one: " + _install("build-essential", "gcc-c++ make", "gcc"),
    )


def check_memory() -> Check:
    """Compiling llama.cpp takes about 1 GiB for each core."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return Check("memory", True, "unknown")
    found = f"{total / 1024**3:.1f} GiB"
    if total >= 1.5 * 1024**3:
        return Check("memory", True, found)
    return Check("memory", False, found, "a machine with at least 2 GiB of memory")


def find_python() -> str | None:
    """The path of a Python on PATH that is new enough."""
    for name in _PYTHONS:
        path = shutil.which(name)
        if path and _version_of(path) >= OLDEST_PYTHON:
            return path
    return None


def facts() -> dict[str, Any]:
    """What kind of machine this is: decides which compiled wheel fits it."""
    libc, version = platform.libc_ver()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": (libc + " " + version).strip(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "cores": os.cpu_count(),
        "home": str(Path.home()),
    }


def report(checks: list[Check]) -> str:
    """The failed checks as lines for a person."""
    return "\n".join(
        f"  {check.name}: {check.found}\n    -> {check.remedy}" for check in checks if not check.ok
    )


def _version_of(path: str) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        out = subprocess.run(
            [path, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
        ).stdout
        return tuple(int(part) for part in out.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0,)


def _runs(command: list[str]) -> bool:
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _install(debian: str, fedora: str, brew: str) -> str:
    if shutil.which("apt-get"):
        return "sudo apt-get install " + debian
    if shutil.which("dnf"):
        return "sudo dnf install " + fedora
    if shutil.which("brew"):
        return "brew install " + brew
    return f"{debian} (Debian's name for it)"


def main() -> int:
    """Print the checks; exit 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=str(Path.home()))
    parser.add_argument("--no-engine", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    checks = run_checks(args.folder, not args.no_engine)
    if args.json:
        sys.stdout.write(
            json.dumps({"facts": facts(), "checks": [check._asdict() for check in checks]}) + "\n"
        )
    else:
        sys.stdout.write((report(checks) or "everything is there") + "\n")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
