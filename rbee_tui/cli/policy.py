"""``rbee policy``: the script that chooses workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Yes
from rbee_tui.cli.output import confirm, emit, emit_json, note, table

if TYPE_CHECKING:
    from rbee_agent.contracts.policy import PolicyDecision

app = group("The script that chooses workers.")

Script = Annotated[Path, typer.Argument(metavar="FILE", help="A Starlark script.")]
To = Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep it.")]


@command(app, "show")
def show(ctx: typer.Context, json: Json = False) -> None:
    """The script in force, or which built-in strategy decides.

    $ rbee policy show
    """
    sessions.run(_show(sessions.of(ctx), as_json=json))


async def _show(session: sessions.Session, *, as_json: bool) -> None:
    async with session.queen() as queen:
        answer = await queen.policy()
    if as_json:
        emit_json(answer)
    elif answer.policy is None:
        emit(f"no script: the built-in policy decides ({answer.strategy})")
    else:
        note(f"{answer.policy.name} is in force")
        emit(answer.policy.source.rstrip("\n"))


@command(app, "check")
def check(
    ctx: typer.Context,
    script: Script,
    fleet: Annotated[
        Path | None,
        typer.Option(
            "--fleet", metavar="FILE", help="A recorded fleet (`rbee policy record`), not today's."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Have the queen try a script on the fleet as it is, or as it was; nothing changes.

    $ rbee policy check policy.star
    $ rbee policy check policy.star --fleet monday.json
    """
    sessions.run(_check(sessions.of(ctx), script, fleet, as_json=json))


async def _check(
    session: sessions.Session, script: Path, fleet: Path | None, *, as_json: bool
) -> None:
    source = _read(script)
    recorded = None if fleet is None else _recorded(fleet)
    async with session.queen() as queen:
        trial = await queen.check_policy(script.name, source, recorded)
    if as_json:
        emit_json(trial)
        return
    emit(f"{script.name} would be taken; it has {', '.join(trial.hooks) or 'no hook'}")
    if recorded is None:
        for hook, answer in trial.answers.items():
            emit(f"  {hook}: {answer}")
    elif not trial.decisions:
        emit("no task ran or waited in the recorded fleet")
    else:
        head = ("TASK", "MODEL", "WAS ON", "THIS SCRIPT", "BUILT IN", "")
        emit(table(head, (_decision(one) for one in trial.decisions)))


def _decision(one: PolicyDecision) -> tuple[str, ...]:
    where = "refused" if one.refused is not None else one.worker_id or "waits"
    why = one.problem or one.refused or ""
    return one.job_id, one.model, one.before or "waited", where, one.built_in or "waits", why


@command(app, "record")
def record(ctx: typer.Context, to: To) -> None:
    """Keep the fleet as it is, with what runs and waits, for later checks. Holds no prompt.

    $ rbee policy record monday.json
    """
    sessions.run(_record(sessions.of(ctx), to))


async def _record(session: sessions.Session, to: Path) -> None:
    async with session.queen() as queen:
        fleet = await queen.snapshot()
    try:
        to.write_text(fleet.dump_json() + "\n", "utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{to}: {error}") from None
    open_tasks = sum(not task.state.final for task in fleet.tasks)
    note(f"{to} holds {len(fleet.workers)} workers and {open_tasks} tasks that run or wait")


@command(app, "apply")
def apply(ctx: typer.Context, script: Script) -> None:
    """Let a script decide from now on, once the queen has tried it.

    $ rbee policy apply policy.star
    """
    sessions.run(_apply(sessions.of(ctx), script))


async def _apply(session: sessions.Session, script: Path) -> None:
    source = _read(script)
    async with session.queen() as queen:
        await queen.put_policy(script.name, source)
    note(f"{script.name} is in force")


@command(app, "drop")
def drop(ctx: typer.Context, yes: Yes = False) -> None:
    """Go back to the built-in policy; the queen forgets the script.

    $ rbee policy drop --yes
    """
    if not confirm("Forget the script?", yes=yes):
        raise SystemExit(EXIT_FAILED)
    sessions.run(_drop(sessions.of(ctx)))


async def _drop(session: sessions.Session) -> None:
    async with session.queen() as queen:
        await queen.drop_policy()
    note("the built-in policy is in force")


def _recorded(file: Path) -> dict[str, Any]:
    """A recorded fleet.

    Raises:
        BadParameter: there is no such file, or it is none.
    """
    try:
        fleet = json.loads(_read(file))
    except ValueError as error:
        raise typer.BadParameter(f"{file} is no recorded fleet: {error}") from None
    if not isinstance(fleet, dict):
        raise typer.BadParameter(f"{file} is no recorded fleet: `rbee policy record` makes one")
    return fleet


def _read(script: Path) -> str:
    """The script's text.

    Raises:
        BadParameter: there is no such file, or it is no text.
    """
    try:
        return script.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{script}: {error}") from None
