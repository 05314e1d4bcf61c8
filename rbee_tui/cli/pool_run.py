"""What ``rbee pool`` does on its host."""

from __future__ import annotations

from typing import Any

from rbee_agent.ssh.shell import Shell
from rbee_tui.cli.output import emit, emit_json, fields, note
from rbee_tui.cli.session import Session
from rbee_tui.fleet import hosts_file
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.install import from_source
from rbee_tui.fleet.remote import Remote
from rbee_tui.fleet.wheels import Wheels
from rbee_tui.state.clean import clean


async def on_host(session: Session, name: str, words: list[str], *, timeout: float) -> None:
    """Run ``rbee-hive WORDS`` on a host; its lines come as it prints them.

    Raises:
        RbeeError: it failed there, with the exit code that it had there.
    """
    host = hosts_file.one(session.places.hosts_file, name)
    async with await Shell.open(host.target) as shell:
        remote = Remote(host, shell, note)
        await remote.agent(
            "rbee_agent.hive",
            words,
            timeout=timeout,
            on_line=lambda line: emit(clean(line.decode(errors="replace"))),
        )


async def source(session: Session, name: str, do: str, *, index: str | None, as_json: bool) -> None:
    """Pull, show or build a host's checkout."""
    host = hosts_file.one(session.places.hosts_file, name)
    async with await Shell.open(host.target) as shell:
        remote = Remote(host, shell, lambda text: note(f"{name}: {text}"))
        found = await _source(session, remote, host, do, index)
    if as_json:
        emit_json(found)
    else:
        emit(fields(found.items()))


async def _source(
    session: Session, remote: Remote, host: Host, do: str, index: str | None
) -> dict[str, Any]:
    if do == "build":
        return await from_source(remote, Wheels(session.places.cache / "wheels"), index=index)
    return await remote.call("source", {"do": do, "url": host.from_git}, timeout=600.0)
