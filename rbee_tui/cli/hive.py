"""``rbee hive``: the hosts, as the queen knows them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.fleet import node_table
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Watch, Yes
from rbee_tui.cli.output import confirm, emit, emit_json, fields, note, table
from rbee_tui.state.units import percent, size

app = group("Hosts that run a hive.")

Host = Annotated[str, typer.Argument(metavar="HOST", help="Its name or id.")]


@command(app, "ls")
def ls(ctx: typer.Context, json: Json = False, watch: Watch = False) -> None:
    """The hosts with their devices, memory and models.

    $ rbee hive ls
    $ rbee hive ls --json
    """
    session = sessions.of(ctx)
    if watch:
        from rbee_tui.cli.watch import watch_fleet

        sessions.run(watch_fleet(session, lambda d: {"nodes": d["nodes"]}, _text, json))
        return
    sessions.run(_ls(session, as_json=json))


async def _ls(session: sessions.Session, *, as_json: bool) -> None:
    from rbee_agent.client.calls import items

    async with session.queen() as queen:
        document = {"nodes": items(await queen.raw("GET", "/v2/nodes"), "nodes")}
    emit_json(document) if as_json else emit(_text(document))


def _text(document: dict[str, Any]) -> str:
    return node_table(document["nodes"]) if document["nodes"] else "no hosts; try: rbee up"


@command(app, "rm")
def rm(ctx: typer.Context, host: Host, yes: Yes = False) -> None:
    """Forget a host, here and at the queen; what runs there goes on (`hive uninstall` ends it).

    $ rbee hive rm HOST --yes
    """
    if not confirm(f"Forget {host}?", yes=yes):
        raise SystemExit(EXIT_FAILED)
    sessions.run(_rm(sessions.of(ctx), host))


async def _rm(session: sessions.Session, host: str) -> None:
    from rbee_agent.errors import NotFound, Unreachable
    from rbee_tui.cli.worker import node_named
    from rbee_tui.fleet import hosts_file, link

    path = session.places.hosts_file
    entry = hosts_file.read(path).get(host)
    try:
        async with session.queen() as queen:
            if entry is not None:
                await link.remove(queen, entry)
            else:
                await queen.remove_node(await node_named(queen, host) or host)
    except (NotFound, Unreachable) as error:
        # The operator's own list is what counts for a host that is in it.
        if entry is None:
            raise error from None
    if entry is not None:
        hosts_file.remove(path, host)
    note(f"forgot {host}")


@command(app, "show")
def show(
    ctx: typer.Context,
    host: Host,
    json: Json = False,
) -> None:
    """One host: devices, models, what the queen thinks of it.

    $ rbee hive show HOST
    """
    sessions.run(_show(sessions.of(ctx), host, as_json=json))


async def _show(session: sessions.Session, host: str, *, as_json: bool) -> None:
    from rbee_tui.cli.worker import node_named

    async with session.queen() as queen:
        node_id = await node_named(queen, host)
        node = next(n for n in await queen.nodes() if n.id == node_id)
    if as_json:
        emit_json(node)
        return
    emit(
        fields(
            [
                ("id", node.id),
                ("host", node.hostname),
                ("state", node.state.value),
                ("reason", node.reason),
                ("version", node.version),
                ("system", f"{node.os} {node.arch}"),
                ("backends", ", ".join(node.backends)),
                ("models", ", ".join(node.models)),
                ("disk free", size(node.disk_free)),
            ]
        )
    )
    emit("")
    emit(
        table(
            ("DEVICE", "NAME", "MEMORY", "LOAD"),
            (
                (
                    d.id,
                    d.name,
                    f"{size(d.memory_used)}/{size(d.memory_total)}",
                    percent(d.utilization),
                )
                for d in node.devices
            ),
        )
    )


@command(app, "drain")
def drain(ctx: typer.Context, host: Host) -> None:
    """Let a host finish what it does, and give it nothing new; `hive resume` ends it.

    $ rbee hive drain HOST
    """
    sessions.run(_drain(sessions.of(ctx), host, drain=True))


@command(app, "resume")
def resume(ctx: typer.Context, host: Host) -> None:
    """Give a drained host work again.

    $ rbee hive resume HOST
    """
    sessions.run(_drain(sessions.of(ctx), host, drain=False))


async def _drain(session: sessions.Session, host: str, *, drain: bool) -> None:
    from rbee_tui.cli.worker import node_named

    async with session.queen() as queen:
        await queen.drain_node(await node_named(queen, host) or host, drain=drain)
    note(f"{host} drains" if drain else f"{host} is given work again")
