"""The keeper's cache of wheels: llama.cpp once a kind of host, and all the rest offline."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rbee_agent.errors import RbeeError

LLAMA = "llama-cpp-python"
CMAKE = {
    "cuda": "-DGGML_CUDA=on",
    "rocm": "-DGGML_HIP=on",
    "vulkan": "-DGGML_VULKAN=on",
    "metal": "-DGGML_METAL=on",
    "cpu": "",
}
_BESIDE_LLAMA = ("typing-extensions", "numpy", "diskcache", "jinja2", "MarkupSafe")
_DOWNLOAD_S = 1800.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What a compiled llama.cpp fits: hosts of one kind share a wheel."""

    machine: str
    libc: str
    python: str
    backend: str
    cpu: str
    """Hash of the CPU's instruction sets: llama.cpp uses all that it is compiled with."""
    system: str = "Linux"

    @classmethod
    def of(cls, facts: dict[str, Any], backend: str) -> Kind:
        """The kind of a host, from what the doctor saw."""
        python = ".".join(str(facts["python"]).split(".")[:2])
        cpu = hashlib.sha256(str(facts.get("cpu", "")).encode()).hexdigest()[:8]
        libc = str(facts.get("libc") or "libc").replace(" ", "")
        return cls(
            str(facts["machine"]), libc, python, backend, cpu, str(facts.get("system", "Linux"))
        )

    def __str__(self) -> str:
        words = (self.system, self.machine, self.libc, self.python, self.backend, self.cpu)
        return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words).lower()


class Wheels:
    """The folder of wheels below the keeper's cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._building: dict[Kind, asyncio.Lock] = {}

    def llama(self, kind: Kind) -> Path | None:
        """The compiled wheel for a kind of host; None where none was fetched yet."""
        found = sorted((self.folder / "llama" / str(kind)).glob("llama_cpp_python-*.whl"))
        return found[-1] if found else None

    def llama_folder(self, kind: Kind) -> Path:
        """Where the wheel for a kind lies."""
        return self.folder / "llama" / str(kind)

    def building(self, kind: Kind) -> asyncio.Lock:
        """Held while one host compiles for its kind: the others of the kind wait for its wheel."""
        return self._building.setdefault(kind, asyncio.Lock())

    async def dependencies(self, kind: Kind, own: Path) -> list[Path]:
        """Every wheel that `own` needs on a host of that kind, downloaded here for ``--offline``.

        Raises:
            RbeeError: one cannot be had; names it.
        """
        folder = self.folder / "offline" / f"{kind.system}-{kind.machine}-{kind.python}".lower()
        mark = folder / f".{_constraints_hash()}"
        if not mark.exists():
            folder.mkdir(parents=True, exist_ok=True)
            await self._download(kind, own, folder)
            mark.touch()
        return [path for path in sorted(folder.glob("*.whl")) if not path.name.startswith("rbee-")]

    async def _download(self, kind: Kind, own: Path, folder: Path) -> None:
        constraints = folder / "constraints.txt"
        constraints.write_text(constraints_text())
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
        command += [*_platform(kind), "--python-version", kind.python]
        command += ["--constraint", str(constraints), str(own), *_BESIDE_LLAMA]
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_DOWNLOAD_S):
                out, _ = await child.communicate()
        except BaseException:
            if child.returncode is None:
                child.kill()
                await child.wait()
            raise
        if child.returncode != 0:
            tail = "\n  ".join(out.decode(errors="replace").splitlines()[-8:])
            raise RbeeError(f"the packages for --offline cannot be downloaded here:\n  {tail}")


def constraints_text() -> str:
    """The tested versions of everything."""
    return resources.files("rbee_agent").joinpath("constraints.txt").read_text(encoding="utf-8")


def llama_requirement() -> str:
    """llama-cpp-python at the tested version."""
    for line in constraints_text().splitlines():
        name, _, version = line.partition("==")
        if name.strip().lower().replace("_", "-") == LLAMA:
            return f"{LLAMA}=={version.strip()}"
    raise RbeeError("constraints.txt names no llama-cpp-python")


def _constraints_hash() -> str:
    return hashlib.sha256(constraints_text().encode()).hexdigest()[:12]


def _platform(kind: Kind) -> list[str]:
    """Which wheels fit: for glibc all manylinux tags up to the host's."""
    if kind.system == "Darwin":
        return ["--platform", f"macosx_11_0_{kind.machine}"]
    match = re.fullmatch(r"glibc(\d+)\.(\d+)", kind.libc)
    newest = int(match[2]) if match else 17
    tags = [f"manylinux_2_{minor}_{kind.machine}" for minor in range(newest, 16, -1)]
    tags += [f"manylinux2014_{kind.machine}", f"linux_{kind.machine}"]
    return [word for tag in tags for word in ("--platform", tag)]
