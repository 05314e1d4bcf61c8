"""The doctor: what a host lacks, each finding with its remedy."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rbee_agent import __version__
from rbee_agent.errors import RbeeError
from rbee_agent.ssh.shell import Shell
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.many import TellHost
from rbee_tui.fleet.remote import Remote

CLOCK_S = 5.0
"""More than this apart, and times in logs and tables mislead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at on one host."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    advice: bool = False
    """Not in the way of anything, but worth knowing."""

    def dump(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


async def examine(host: Host, tell: TellHost) -> list[Finding]:
    """Look at one host; what cannot be reached is a finding, not an error."""
    tell(host.name, "connecting")
    began = time.monotonic()
    try:
        shell = await Shell.open(host.target)
    except RbeeError as error:
        reached = error.code != "UNREACHABLE"
        findings = [Finding("reach", True, "it answers")] if reached else []
        name = "login" if reached else "reach"
        return [*findings, Finding(name, False, error.message, _remedy(error))]
    took = (time.monotonic() - began) * 1000
    findings = [Finding("reach", True, f"logged in within {took:.0f} ms")]
    async with shell:
        remote = Remote(host, shell, partial(tell, host.name))
        try:
            before = time.time()
            seen = await remote.look()
            after = time.time()
        except RbeeError as error:
            return [*findings, Finding("python", False, error.message, _remedy(error))]
    return findings + judge(seen, host, before=before, after=after)


def judge(seen: dict[str, Any], host: Host, *, before: float, after: float) -> list[Finding]:
    """What the host's facts mean.

    Args:
        seen: what `onhost.look` told.
        host: the entry in hives.toml.
        before: Unix seconds here, before it was asked.
        after: Unix seconds here, after it had answered.
    """
    findings = [
        Finding(
            c["name"], bool(c["ok"]), str(c["found"]), str(c["remedy"]), c["name"] == "compiler"
        )
        for c in seen["checks"]
    ]
    facts, backend = seen["facts"], seen["backend"]
    findings.append(
        Finding("system", True, f"{facts['system']} {facts['machine']}, {facts['libc']}")
    )
    findings.append(_gpu(backend, host))
    findings.append(_clock(float(seen["time"]), before, after, host))
    findings.append(_installed(seen.get("installed"), host))
    hive = seen["hive"]
    where = (
        f"runs at {hive.get('url')} (kept by {hive.get('kept')})" if hive["running"] else "stopped"
    )
    stale = bool(hive.get("stale"))
    where += ", from before the last installation" if stale else ""
    remedy = f"rbee hive update {host.name}" if stale else ""
    findings.append(Finding("hive", not stale, where, remedy, advice=True))
    keeper = "a systemd user unit" if seen["systemd"] else "rbee's own supervisor, until a reboot"
    linger = "" if seen["systemd"] else "for starts at boot: sudo loginctl enable-linger " + "$USER"
    findings.append(Finding("service", bool(seen["systemd"]), keeper, linger, advice=True))
    return findings


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing that was found stands in the way."""
    return all(each.ok or each.advice for each in findings)


def _gpu(backend: dict[str, Any], host: Host) -> Finding:
    name = str(backend["name"])
    if backend["build"]:
        return Finding("backend", True, f"{name} ({backend['found']})")
    remedy = (
        f"llama.cpp for {name} cannot be compiled there: install its compiler (nvidia-cuda-toolkit "
        f"for cuda), or use the CPU: rbee hive add {host.name} --backend cpu"
    )
    return Finding(
        "backend", False, f"{name} ({backend['found']}), no compiler for it", remedy, True
    )


def _clock(theirs: float, before: float, after: float, host: Host) -> Finding:
    apart = 0.0 if before <= theirs <= after else min(abs(theirs - before), abs(theirs - after))
    if apart <= CLOCK_S:
        return Finding("clock", True, f"within {max(apart, 1.0):.0f} s of ours")
    return Finding(
        "clock",
        False,
        f"{apart:.0f} s apart from ours",
        f"have one of the two set by NTP: ssh {host.name} sudo timedatectl set-ntp true",
        advice=True,
    )


def _installed(installed: dict[str, Any] | None, host: Host) -> Finding:
    if installed is None:
        return Finding("rbee", True, "not installed", f"rbee hive install {host.name}")
    version = str(installed.get("version"))
    if version == __version__:
        return Finding("rbee", True, f"{version} ({installed.get('backend')})")
    age = "newer" if _numbers(version) > _numbers(__version__) else "older"
    remedy = f"rbee hive update {host.name}"
    if age == "newer":
        remedy = f"update this keeper, or take the host back to its version: {remedy}"
    return Finding("rbee", False, f"{version}, {age} than this keeper's {__version__}", remedy)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _remedy(error: RbeeError) -> str:
    """The sentence holds it already where it was made by us."""
    return "" if error.code in ("FORBIDDEN", "UNREACHABLE", "CONFLICT") else "try it with ssh -v"
