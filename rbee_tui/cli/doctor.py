"""``rbee doctor``: can this machine do its part, and if not, what to install or free."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json, table
from rbee_tui.state.units import size

GIB = 1024**3
LEAST_DISK = 6 * GIB
"""The five that downloads keep free, and one for a small model."""
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: how it ended, what was seen, what to do."""

    check: str
    result: Literal["ok", "warn", "fail"]
    seen: str
    fix: str = ""


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Check this machine: Python, engine, disk, ports, daemons. Exit 1 where something is broken.

    $ rbee doctor
    """
    session = sessions.of(ctx)
    findings = list(examine(session))
    if json:
        emit_json({"findings": [asdict(finding) for finding in findings]})
    else:
        emit(
            table(
                ("CHECK", "RESULT", "SEEN", "DO"),
                ((f.check, f.result, f.seen, f.fix) for f in findings),
            )
        )
    if any(finding.result == "fail" for finding in findings):
        raise SystemExit(EXIT_FAILED)


def examine(session: sessions.Session) -> Iterator[Finding]:
    """Every check of this machine, one after the other."""
    from rbee_tui.fleet import local

    yield _python()
    yield _engine()
    yield _compiler()
    yield _disk(session.places.models)
    yield _memory()
    for agent in (local.queen_agent(session.places), local.hive_agent(session.places)):
        yield _daemon(session, agent)


def _python() -> Finding:
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Finding("python", "fail", seen, "install Python 3.11 or later")
    return Finding("python", "ok", seen)


def _engine() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    if find_spec("llama_cpp") is None:
        return Finding(
            "engine", "warn", "no llama-cpp-python", "for workers here: pip install 'rbee[llama]'"
        )
    try:
        return Finding("engine", "ok", f"llama-cpp-python {version('llama-cpp-python')}")
    except PackageNotFoundError:
        return Finding("engine", "ok", "llama-cpp-python of unknown version")


def _compiler() -> Finding:
    names = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    if names:
        return Finding("compiler", "ok", names[0])
    if find_spec("llama_cpp") is not None:
        return Finding("compiler", "ok", "none, and none needed: the engine is built")
    return Finding("compiler", "warn", "none", "to build the engine: apt install g++ cmake")


def _disk(folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_DISK:
        return Finding("disk", "warn", f"{size(free)} free at {there}", "downloads keep 5G free")
    return Finding("disk", "ok", f"{size(free)} free at {there}")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    seen = f"{size(memory.available)} of {size(memory.total)} available"
    if memory.available < GIB:
        return Finding("memory", "warn", seen, "small models only")
    return Finding("memory", "ok", seen)


def _daemon(session: sessions.Session, agent: object) -> Finding:
    from rbee_agent.settings.config import load
    from rbee_tui.fleet import local

    assert isinstance(agent, local.Agent)  # noqa: S101 - typed loosely so that local stays lazy
    found = local.running(agent)
    if found is not None:
        return Finding(agent.name, "ok", f"runs at {found.url} (pid {found.pid})")
    settings = load(session.places.config_file, env=session.env).settings
    host, port = (
        (settings.queen.host, settings.queen.port)
        if agent.name == "queen"
        else (settings.hive.host, settings.hive.port)
    )
    if port and _taken(host, port):
        fix = f"choose another: rbee up --{agent.name}-port N"
        return Finding(agent.name, "fail", f"not running, and port {port} is taken", fix)
    return Finding(agent.name, "ok", f"not running; port {port} is free", "start it: rbee up")


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
