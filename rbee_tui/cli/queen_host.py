"""A queen on a control node: installed, started and watched over SSH, reached through a tunnel."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.routes import QUEEN_PORT
from rbee_agent.errors import EXIT_OK, EXIT_UNREACHABLE, Conflict
from rbee_tui.cli.one_host import on_one
from rbee_tui.cli.output import emit, emit_json, fields, note
from rbee_tui.cli.session import Session
from rbee_tui.fleet import local, queen_tunnel
from rbee_tui.fleet.install import Package, install
from rbee_tui.fleet.wheels import Wheels


async def install_there(
    session: Session, name: str, *, offline: bool, index: str | None
) -> dict[str, Any]:
    """Install the queen; what is there already stays."""
    note("building this rbee's wheel")
    own = await Package.own(session.places.cache / "wheels" / "own")
    async with on_one(session, name) as remote:
        made = await install(
            remote,
            own,
            Wheels(session.places.cache / "wheels"),
            offline=offline,
            index=index,
            engine=False,
        )
    emit(f"rbee {made['version']} is on {name}; start her: rbee queen start --host {name}")
    return made


async def update_there(session: Session, name: str, *, offline: bool, index: str | None) -> None:
    """Install this version and restart the queen where she runs."""
    made = await install_there(session, name, offline=offline, index=index)
    if made["already"]:
        return
    async with on_one(session, name) as remote:
        running = (await remote.status("queen"))["running"]
        if running:
            remote.tell("restarting the queen")
            await remote.stop("queen")
    if running:
        await start_there(session, name, None)


async def start_there(session: Session, name: str, port: int | None) -> None:
    """Start her and keep a tunnel to her, so that every command here finds her.

    Raises:
        Conflict: a queen of this user runs on this machine.
    """
    found = local.running(local.queen_agent(session.places))
    if found is not None and not queen_tunnel.leads_to(session.places, name):
        raise Conflict(
            f"a queen is in use already at {found.url}: `rbee queen stop` ends that, "
            f"then `rbee queen start --host {name}`"
        )
    async with on_one(session, name) as remote:
        remote.tell("starting the queen")
        record = await remote.start("queen", {"RBEE_QUEEN_PORT": str(port or QUEEN_PORT)})
        target = remote.host.target
    if found is not None:
        await local.stop(found)
    far = int(str(record["url"]).rsplit(":", 1)[-1])
    link = await queen_tunnel.start(session.places, target, far, str(record["token"]), session.env)
    how = "runs already" if record["already"] else "started"
    emit(f"queen {how} on {name} (pid {record['pid']}); here she is at {link.url}")


async def stop_there(session: Session, name: str) -> None:
    """Stop her, and the tunnel to her."""
    if queen_tunnel.leads_to(session.places, name):
        found = local.running(local.queen_agent(session.places))
        if found is not None:
            await local.stop(found)
    async with on_one(session, name) as remote:
        stopped = await remote.stop("queen")
    emit(f"stopped the queen on {name}" if stopped["was_running"] else f"no queen runs on {name}")


async def status_there(session: Session, name: str, *, as_json: bool) -> int:
    """Whether she runs there; the exit code says it too."""
    async with on_one(session, name) as remote:
        found = await remote.status("queen")
    shown = {key: found.get(key) for key in ("running", "url", "version", "kept", "pid")}
    shown["linked"] = queen_tunnel.leads_to(session.places, name)
    emit_json(shown) if as_json else emit(fields(shown.items()))
    return EXIT_OK if found["running"] else EXIT_UNREACHABLE


async def uninstall_there(session: Session, name: str) -> None:
    """Stop her and take everything of rbee off the host."""
    await stop_there(session, name)
    async with on_one(session, name) as remote:
        await remote.remove(purge_models=False)
    emit(f"nothing of rbee is on {name} any more")
