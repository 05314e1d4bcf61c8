"""This project's own wheel: built from a checkout, or put together again where it is installed.

So an installed rbee can install itself elsewhere, with no checkout and no index.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import rbee_agent
from rbee_agent.errors import RbeeError

DISTRIBUTION = "rbee"
_SKIPPED = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")
_STAMP = (1980, 1, 1, 0, 0, 0)
_BUILD_S = 300.0


def own_wheel(folder: Path) -> Path:
    """This rbee's wheel, in `folder`; equal sources make equal bytes.

    Raises:
        RbeeError: it can neither be built nor put together.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    checkout = Path(rbee_agent.__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return from_checkout(checkout, folder)
    return from_installed(folder)


def digest(wheel: Path) -> str:
    """The first hex digits of a hash over a wheel's files: tells two builds apart."""
    total = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".dist-info/RECORD"):
                continue  # the same list in another order
            total.update(name.encode() + b"\0" + hashlib.sha256(archive.read(name)).digest())
    return total.hexdigest()[:12]


def from_checkout(checkout: Path, folder: Path) -> Path:
    """Build the wheel with the project's own build backend.

    Raises:
        RbeeError: the build failed; with its last lines.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-input", "--disable-pip-version-check", "--wheel-dir", work]
        if _has("hatchling"):
            command.append("--no-build-isolation")
        done = subprocess.run(
            [*command, str(checkout)],
            capture_output=True,
            text=True,
            timeout=_BUILD_S,
            check=False,
            cwd=work,
        )
        built = list(Path(work).glob("*.whl"))
        if done.returncode != 0 or not built:
            tail = "\n  ".join((done.stderr or done.stdout).splitlines()[-8:])
            raise RbeeError(f"building this rbee's wheel from {checkout} failed:\n  {tail}")
        return built[0].replace(folder / built[0].name)


def from_installed(folder: Path, name: str = DISTRIBUTION) -> Path:
    """Put the wheel together from an installed distribution's files.

    Raises:
        RbeeError: it is not installed as a distribution, or files of it are gone.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise RbeeError(
            f"{name} is neither a checkout nor an installed distribution here; install it with pip"
        ) from error
    info = f"{name}-{found.version}.dist-info"
    target = folder / f"{name}-{found.version}-py3-none-any.whl"
    part = target.with_suffix(".part")
    records = []
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(found.files or [], key=str):
            inside = str(path)
            if inside.startswith("..") or "__pycache__" in inside or path.name in _SKIPPED:
                continue
            try:
                data = Path(str(found.locate_file(path))).read_bytes()
            except OSError as error:
                part.unlink(missing_ok=True)
                raise RbeeError(
                    f"{inside} of the installed {name} is gone ({error.strerror}); install it anew"
                ) from error
            archive.writestr(_entry(inside), data)
            records.append(_record(inside, data))
        if not records:
            raise RbeeError(f"the installed {name} says nothing of its files; install it with pip")
        records.append(f"{info}/RECORD,,")
        archive.writestr(_entry(f"{info}/RECORD"), "\n".join(records) + "\n")
    return part.replace(target)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _STAMP)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _record(name: str, data: bytes) -> str:
    sha = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={sha},{len(data)}"


def _has(module: str) -> bool:
    try:
        metadata.distribution(module)
    except metadata.PackageNotFoundError:
        return False
    return True
