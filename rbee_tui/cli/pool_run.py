"""What ``rbee pool`` does on its host."""

from __future__ import annotations

from typing import Any

from rbee_tui.cli.one_host import on_one
from rbee_tui.cli.output import emit, emit_json, fields
from rbee_tui.cli.session import Session
from rbee_tui.fleet.install import from_source
from rbee_tui.fleet.remote import Remote
from rbee_tui.fleet.wheels import Wheels
from rbee_tui.state.clean import clean


async def on_host(session: Session, name: str, words: list[str], *, timeout: float) -> None:
    """Run ``rbee-hive WORDS`` on a host and print what it prints; its progress is shown.

    Raises:
        RbeeError: it failed there, with the exit code that it had there.
    """
    async with on_one(session, name) as remote:
        out = await remote.agent("rbee_agent.hive", words, timeout=timeout)
    emit(clean(out, lines=True))


async def source(session: Session, name: str, do: str, *, index: str | None, as_json: bool) -> None:
    """Pull, show or build a host's checkout."""
    async with on_one(session, name) as remote:
        found = await _source(session, remote, do, index)
    if as_json:
        emit_json(found)
    else:
        emit(fields(found.items()))


async def _source(session: Session, remote: Remote, do: str, index: str | None) -> dict[str, Any]:
    if do == "build":
        return await from_source(remote, Wheels(session.places.cache / "wheels"), index=index)
    return await remote.call("source", {"do": do, "url": remote.host.from_git}, timeout=600.0)
