"""``rbee queen``: this user's queen on this machine, or with ``--host`` on another."""

from __future__ import annotations

from typing import Annotated

import typer

from rbee_agent.errors import EXIT_FAILED, EXIT_UNREACHABLE
from rbee_tui.cli import session as sessions
from rbee_tui.cli.agents import ports
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Yes
from rbee_tui.cli.output import Progress, confirm, emit, emit_json, fields

app = group("The queen of this machine alone, or with --host of another.")

Elsewhere = Annotated[
    str | None, typer.Option("--host", metavar="NAME", help="A host of hives.toml, over SSH.")
]


@command(app, "start")
def start(
    ctx: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port (0: any free one).")
    ] = None,
    host: Elsewhere = None,
) -> None:
    """Start the queen without a hive; says so if she runs already.

    With --host she runs there, and commands here reach her through SSH.

    $ rbee queen start
    $ rbee queen start --host control-1
    """
    if host is not None:
        from rbee_tui.cli.queen_host import start_there

        sessions.run(start_there(sessions.of(ctx), host, port))
        return
    sessions.run(_start(sessions.of(ctx), port))


async def _start(session: sessions.Session, port: int | None) -> None:
    from rbee_tui.fleet import local

    agent = local.queen_agent(session.places)
    with local.exclusive(session.places):
        found = local.running(agent)
        how = "runs already"
        if found is None:
            progress = Progress()
            progress.update("starting the queen")
            try:
                found = await local.start(agent, env={**session.env, **ports(port, None)})
            finally:
                progress.clear()
            how = "started"
    emit(f"queen {how} at {found.url} (pid {found.pid})")


@command(app, "stop")
def stop(ctx: typer.Context, host: Elsewhere = None) -> None:
    """Stop the queen; hives and workers go on, and tasks are kept.

    $ rbee queen stop
    """
    if host is not None:
        from rbee_tui.cli.queen_host import stop_there

        sessions.run(stop_there(sessions.of(ctx), host))
        return
    sessions.run(_stop(sessions.of(ctx)))


async def _stop(session: sessions.Session) -> None:
    from rbee_tui.fleet import local

    with local.exclusive(session.places):
        found = local.running(local.queen_agent(session.places))
        if found is None:
            emit("no queen runs")
            return
        gently = await local.stop(found)
    emit("stopped the queen" if gently else "killed the queen, who did not end by herself")


@command(app, "status")
def status(ctx: typer.Context, host: Elsewhere = None, json: Json = False) -> None:
    """Whether the queen runs, where, and how she fares. Exit 5 where she does not.

    $ rbee queen status
    """
    if host is not None:
        from rbee_tui.cli.queen_host import status_there

        raise SystemExit(sessions.run(status_there(sessions.of(ctx), host, as_json=json)))
    sessions.run(_status(sessions.of(ctx), as_json=json))


async def _status(session: sessions.Session, *, as_json: bool) -> None:
    from rbee_agent.errors import Unreachable
    from rbee_tui.fleet import local

    found = local.running(local.queen_agent(session.places))
    async with session.queen(timeout=5.0) as queen:
        try:
            health, version = await queen.health(), await queen.version()
        except Unreachable as error:
            if as_json:
                emit_json({"running": False, "url": queen.url})
                raise SystemExit(EXIT_UNREACHABLE) from None
            raise error
        url = queen.url
    document = {
        "running": True,
        "url": url,
        "pid": found.pid if found else None,
        "version": version.version,
        "health": health.dump(),
    }
    if as_json:
        emit_json(document)
        return
    emit(
        fields(
            [
                ("queen", url),
                ("pid", document["pid"]),
                ("version", document["version"]),
                ("health", health.status),
            ]
        )
    )


@command(app, "logs")
def logs(
    ctx: typer.Context,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="At most so many.")] = 100,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C; with --host.")
    ] = False,
    host: Elsewhere = None,
) -> None:
    """The queen's last log lines.

    $ rbee queen logs -n 20
    """
    if host is not None:
        from rbee_tui.cli.hosts_run import show_log

        sessions.run(show_log(sessions.of(ctx), host, "queen", lines=lines, follow=follow))
        return
    from rbee_tui.fleet import local
    from rbee_tui.state.clean import clean

    found = local.log_lines(sessions.of(ctx).places.logs / "queen.log", lines)
    emit("\n".join(clean(line) for line in found))


@command(app, "install")
def install(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="A host of hives.toml.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Copy every package; the host reaches no index.")
    ] = False,
    index: Annotated[
        str | None, typer.Option("--index", metavar="URL", help="A package index for the host.")
    ] = None,
) -> None:
    """Install the queen on a control node; it needs no GPU and no compiler.

    $ rbee queen install --host control-1
    """
    from rbee_tui.cli.queen_host import install_there

    sessions.run(install_there(sessions.of(ctx), host, offline=offline, index=index))


@command(app, "update")
def update(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="A host of hives.toml.")],
    offline: Annotated[bool, typer.Option("--offline", help="Copy every package.")] = False,
    index: Annotated[
        str | None, typer.Option("--index", metavar="URL", help="A package index for the host.")
    ] = None,
) -> None:
    """Bring a queen elsewhere to this keeper's version; running tasks go on after her restart.

    $ rbee queen update --host control-1
    """
    from rbee_tui.cli.queen_host import update_there

    sessions.run(update_there(sessions.of(ctx), host, offline=offline, index=index))


@command(app, "uninstall")
def uninstall(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="A host of hives.toml.")],
    yes: Yes = False,
) -> None:
    """Take the queen off a control node, with her tasks, keys and list of hosts.

    $ rbee queen uninstall --host control-1 --yes
    """
    from rbee_tui.cli.queen_host import uninstall_there

    if not confirm(f"Uninstall the queen, and all of rbee, from {host}?", yes=yes):
        raise SystemExit(EXIT_FAILED)
    sessions.run(uninstall_there(sessions.of(ctx), host))
