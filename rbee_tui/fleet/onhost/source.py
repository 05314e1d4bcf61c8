"""A host's own source checkout: cloned, pulled, looked at, made into a wheel."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from rbee_tui.fleet.onhost import install, places
from rbee_tui.fleet.onhost.places import Failed


def folder() -> Path:
    """Where the checkout lies."""
    return places.data() / "source"


def pull(url: str | None) -> dict[str, Any]:
    """Clone, or bring up to the repository (fast-forward only).

    Raises:
        Failed: no git, no repository, or changes in the way.
    """
    if shutil.which("git") is None:
        raise Failed("git is not installed there: sudo apt-get install git")
    if not (folder() / ".git").is_dir():
        if not url:
            raise Failed(
                "there is no checkout: run `rbee hive install --from-git URL`", "NOT_FOUND"
            )
        places.step(f"cloning {url}")
        folder().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        install.run(["git", "clone", "--quiet", "--", url, str(folder())], "cloning")
        return status()
    places.step("pulling")
    before = _git("rev-parse", "HEAD")
    _git("pull", "--quiet", "--ff-only")
    return {**status(), "before": before}


def status() -> dict[str, Any]:
    """Branch, commit, and whether something is changed."""
    if not (folder() / ".git").is_dir():
        raise Failed("there is no checkout: run `rbee hive install --from-git URL`", "NOT_FOUND")
    return {
        "folder": str(folder()),
        "url": _git("remote", "get-url", "origin"),
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain")),
    }


def wheel(arguments: dict[str, Any]) -> dict[str, Any]:
    """Build the checkout's wheel into incoming; its file name and commit."""
    found = status()
    places.incoming().mkdir(mode=0o700, parents=True, exist_ok=True)
    tools = places.data() / "build-tools"
    sources = install.sources(arguments, places.incoming())
    if not (tools / "bin" / "python").exists():
        places.step("making a virtual environment for the build")
        install.run([sys.executable, "-m", "venv", str(tools)], "making a virtual environment")
    python = str(tools / "bin" / "python")
    places.step("building the wheel")
    command = [python, "-m", "pip", "--no-input", "--disable-pip-version-check", "wheel"]
    command += ["--no-deps", *sources, "--wheel-dir", str(places.incoming())]
    install.run([*command, str(folder())], "building the wheel")
    built = max(places.incoming().glob("rbee-*.whl"), key=lambda path: path.stat().st_mtime)
    return {"wheel": built.name, "commit": found["commit"]}


def _git(*words: str) -> str:
    return install.run(["git", "-C", str(folder()), *words], f"git {words[0]}").strip()


def main(arguments: dict[str, Any]) -> int:
    """``do``: pull, status or wheel."""
    places.end_with_the_keeper()
    work = {
        "pull": lambda: pull(arguments.get("url")),
        "status": status,
        "wheel": lambda: wheel(arguments),
    }[str(arguments["do"])]
    return places.perform(work)
