"""``rbee policy``: the script that chooses workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Yes
from rbee_tui.cli.output import confirm, emit, emit_json, note

app = group("The script that chooses workers.")

Script = Annotated[Path, typer.Argument(metavar="FILE", help="A Starlark script.")]


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
def check(ctx: typer.Context, script: Script, json: Json = False) -> None:
    """Have the queen try a script on the fleet as it is; nothing changes.

    $ rbee policy check policy.star
    """
    sessions.run(_check(sessions.of(ctx), script, as_json=json))


async def _check(session: sessions.Session, script: Path, *, as_json: bool) -> None:
    source = _read(script)
    async with session.queen() as queen:
        trial = await queen.check_policy(script.name, source)
    if as_json:
        emit_json(trial)
        return
    emit(f"{script.name} would be taken; it has {', '.join(trial.hooks) or 'no hook'}")
    for hook, answer in trial.answers.items():
        emit(f"  {hook}: {answer}")


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


def _read(script: Path) -> str:
    """The script's text.

    Raises:
        BadParameter: there is no such file, or it is no text.
    """
    try:
        return script.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{script}: {error}") from None
