"""Install a version of rbee beside the others and switch to it when it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbee_tui.fleet.bootstrap import gist
from rbee_tui.fleet.onhost import places
from rbee_tui.fleet.onhost.places import Failed

_KEPT = 2
"""Versions that stay: the one in use and the one before it."""
_LINES = 12


def install(arguments: dict[str, Any]) -> dict[str, Any]:
    """Make the version's own virtual environment, fill it, switch ``current`` to it.

    Arguments: ``version`` (the folder's name), ``wheel`` (file name in incoming), ``llama`` (file
    name of the compiled wheel; None: llama.cpp is compiled here), ``offline``, ``index`` (URL),
    ``constraints`` (text), ``cmake`` (flags for compiling).

    Raises:
        Failed: a step did not work; what was there before is untouched.
    """
    name = str(arguments["version"])
    folder = places.data() / "versions" / name
    with locked():
        if (folder / places.WHOLE).is_file():
            switched = switch(folder)
            return {"version": name, "already": True, "switched": switched, "built": None}
        if folder.exists():
            places.step("removing a half made installation")
            shutil.rmtree(folder)
        try:
            built = fill(folder, arguments)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        switch(folder)
        prune(folder)
    return {"version": name, "already": False, "switched": True, "built": built}


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One installation at a time on this host.

    Raises:
        Failed: another one runs.
    """
    places.data().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (places.data() / "install.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(
                "another installation runs on this host; wait for it", "CONFLICT"
            ) from None
        yield


def fill(folder: Path, arguments: dict[str, Any]) -> str | None:
    """The virtual environment and all that is in it; the name of a wheel that was compiled."""
    incoming = places.incoming()
    constraints = incoming / "constraints.txt"
    constraints.write_text(str(arguments["constraints"]))
    places.step("making a virtual environment")
    run([sys.executable, "-m", "venv", str(folder)], "making the virtual environment")
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--no-input", "--disable-pip-version-check"]
    source = sources(arguments, incoming)
    built = None
    llama = arguments.get("llama")
    engine = bool(arguments.get("engine", True))
    if llama is None and engine:
        places.step("compiling llama.cpp (a few minutes)")
        built = compile_llama(pip, source, constraints, incoming, arguments)
        llama = built
    places.step("installing packages")
    wheels = [str(incoming / str(arguments["wheel"]))]
    if engine:
        wheels = [f"{wheels[0]}[llama]", str(incoming / str(llama))]
    # Compiling every module takes longer than all the rest, and most are never imported.
    command = [*pip, "install", "--progress-bar", "off", "--no-compile", *source]
    command += ["--constraint", str(constraints), *wheels]
    run(command, "installing the packages")
    places.step("looking whether it runs")
    probe = "import rbee_agent, rbee_tui; print(rbee_agent.__version__)"
    probe = "import llama_cpp; " + probe if engine else probe
    version = run([python, "-P", "-c", probe], "running what was installed").strip()
    said = {
        "version": version,
        "name": folder.name,
        "installed_at": time.time(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "backend": arguments.get("backend"),
    }
    whole = folder / (places.WHOLE + ".part")
    whole.write_text(json.dumps(said))
    whole.replace(folder / places.WHOLE)
    return built


def sources(arguments: dict[str, Any], incoming: Path) -> list[str]:
    """Where pip may look for packages."""
    if arguments.get("offline"):
        return ["--no-index", "--find-links", str(incoming)]
    found = ["--find-links", str(incoming)]
    if arguments.get("index"):
        url = str(arguments["index"])
        host = url.split("//", 1)[-1].split("/", 1)[0].rsplit(":", 1)[0]
        found += ["--index-url", url]
        found += ["--trusted-host", host] if url.startswith("http://") else []
    return found


def compile_llama(
    pip: list[str],
    source: list[str],
    constraints: Path,
    incoming: Path,
    arguments: dict[str, Any],
) -> str:
    """Compile llama.cpp for exactly this host; the wheel's file name in incoming."""
    built = incoming / "built"
    shutil.rmtree(built, ignore_errors=True)
    env = {**os.environ, "CMAKE_ARGS": str(arguments.get("cmake") or "")}
    run(
        [
            *[*pip, "wheel", "--verbose", "--no-deps", *source, "--wheel-dir", str(built)],
            *["--constraint", str(constraints), str(arguments["llama_requirement"])],
        ],
        "compiling llama.cpp",
        env,
    )
    wheel = next(built.glob("*.whl"))
    wheel.replace(incoming / wheel.name)
    return wheel.name


def run(command: list[str], what: str, env: dict[str, str] | None = None) -> str:
    """Run a step.

    Raises:
        Failed: with its last lines and what they mean.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
    )
    said = []
    assert child.stdout is not None  # noqa: S101 - Popen was given a pipe
    with child.stdout as lines:
        for line in lines:
            said.append(line)
            shown = gist(line)
            if shown:
                places.step(*shown)
    if child.wait() != 0:
        raise Failed(f"{what} failed: {meaning(''.join(said))}")
    return "".join(said)


def meaning(text: str) -> str:
    """What pip's or venv's complaint means for a person, with its last lines behind it."""
    lines = [line for line in text.splitlines() if line.strip()][-_LINES:]
    said = "\n  " + "\n  ".join(lines)
    for sign, remedy in (
        ("No space left", "the disk is full; free some space and run it again"),
        ("Disk quota exceeded", "your disk quota is used up; free some space"),
        ("ensurepip is not", "install the package python3-venv on the host"),
        ("Operation not permitted", "programs may not run there (mounted noexec?)"),
        ("failed to map segment", "libraries may not be loaded there (mounted noexec?)"),
        ("CMAKE_C_COMPILER", "there is no C++ compiler on the host; install build-essential"),
        ("No matching distribution", "a package is neither in the index nor copied along"),
        ("Failed to establish a new connection", "no package index can be reached: --offline"),
        ("Could not find a version", "no package index can be reached, or it lacks one: --offline"),
        ("Permission denied", "it may not be written or run there (mounted noexec?)"),
    ):
        if sign in text:
            return f"{remedy}{said}"
    return said.strip() or "it said nothing"


def switch(folder: Path) -> bool:
    """Point ``current`` to a whole version, in one step; whether it pointed elsewhere before."""
    link = places.current()
    if link.is_symlink() and link.resolve() == folder.resolve():
        return False
    fresh = link.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("versions") / folder.name)
    fresh.replace(link)
    return True


def prune(used: Path) -> None:
    """Remove versions older than the one before this one, and what was copied for them."""
    others = [path for path in used.parent.iterdir() if path.is_dir() and path != used]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in others[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def clear_incoming() -> dict[str, Any]:
    """Remove what was copied for an installation."""
    shutil.rmtree(places.incoming(), ignore_errors=True)
    return {}


def main(arguments: dict[str, Any]) -> int:
    """Install; with ``begin`` prepare for it, with ``clear`` put the copied wheels away."""
    if arguments.get("begin"):
        return places.perform(places.begin)
    if arguments.get("clear"):
        return places.perform(clear_incoming)
    places.end_with_the_keeper()
    return places.perform(lambda: install(arguments))
