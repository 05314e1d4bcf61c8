"""``rbee queen``: this user's queen on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from rbee_agent.errors import EXIT_UNREACHABLE
from rbee_tui.cli import session as sessions
from rbee_tui.cli.agents import ports
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import Progress, emit, emit_json, fields

app = group("The queen of this machine, alone.")


@command(app, "start")
def start(
    ctx: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port (0: any free one).")
    ] = None,
) -> None:
    """Start the queen without a hive; says so if she runs already.

    $ rbee queen start
    """
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
def stop(ctx: typer.Context) -> None:
    """Stop the queen; hives and workers go on, and tasks are kept.

    $ rbee queen stop
    """
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
def status(ctx: typer.Context, json: Json = False) -> None:
    """Whether the queen runs, where, and how she fares. Exit 5 where she does not.

    $ rbee queen status
    """
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
        "version": version.get("version"),
        "health": health,
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
                ("health", health.get("status", "ok")),
            ]
        )
    )


@command(app, "logs")
def logs(
    ctx: typer.Context,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="At most so many.")] = 100,
) -> None:
    """The queen's last log lines.

    $ rbee queen logs -n 20
    """
    from rbee_tui.fleet import local
    from rbee_tui.state.clean import clean

    found = local.log_lines(sessions.of(ctx).places.logs / "queen.log", lines)
    emit("\n".join(clean(line) for line in found))
