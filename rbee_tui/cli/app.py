"""The command line of ``rbee``: one table of commands, global options, errors to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from rbee_agent import __version__
from rbee_agent.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, RbeeError
from rbee_tui.cli.lazy import LazyGroup
from rbee_tui.cli.session import Screen, Session

COMMANDS = {
    "up": "rbee_tui.cli.agents:up",
    "down": "rbee_tui.cli.agents:down",
    "status": "rbee_tui.cli.fleet:status",
    "ps": "rbee_tui.cli.ps:ps",
    "top": "rbee_tui.cli.fleet:top",
    "infer": "rbee_tui.cli.infer:infer",
    "demo": "rbee_tui.cli.demo:demo",
    "model": "rbee_tui.cli.model:app",
    "worker": "rbee_tui.cli.worker:app",
    "task": "rbee_tui.cli.task:app",
    "session": "rbee_tui.cli.task:session_app",
    "hive": "rbee_tui.cli.hosts:app",
    "policy": "rbee_tui.cli.policy:app",
    "pool": "rbee_tui.cli.pool:app",
    "queen": "rbee_tui.cli.queen:app",
    "key": "rbee_tui.cli.key:app",
    "serve-web": "rbee_tui.cli.serve_web:serve_web",
    "config": "rbee_tui.cli.config:app",
    "doctor": "rbee_tui.cli.doctor:doctor",
    "env": "rbee_tui.cli.env:env",
    "version": "rbee_tui.cli.version:version",
    "completion": "rbee_tui.cli.completion:completion",
}
"""Every command and where it lives; imported only when it runs or is explained."""


class Root(LazyGroup):
    """The top level of ``rbee``."""

    table = COMMANDS


def root(
    ctx: typer.Context,
    queen: Annotated[
        str | None,
        typer.Option("--queen", metavar="URL", help="The queen to talk to [env: RBEE_QUEEN_URL]."),
    ] = None,
    no_tui: Annotated[bool, typer.Option("--no-tui", help="Never open a screen.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="A control center that changes nothing.")
    ] = False,
    theme: Annotated[
        str | None, typer.Option("--theme", metavar="NAME", help="Theme of the control center.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    """One terminal for all your GPUs. Without a command: the control center.

    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 unreachable, 6 timed out,
    7 conflict or does not fit, 8 partly done, 130 interrupted.
    """
    if version:
        print(f"rbee {__version__}")
        raise typer.Exit(EXIT_OK)
    given: Session = ctx.obj
    session = Session(
        places=given.places,
        env=given.env,
        queen_url=queen,
        screen=None if no_tui else given.screen,
        theme=theme,
        read_only=read_only,
    )
    ctx.obj = session
    if ctx.invoked_subcommand is None:
        _without_command(session)


def _without_command(session: Session) -> None:
    if session.screen is None:
        from rbee_tui.cli.fleet import print_status
        from rbee_tui.cli.session import run

        run(print_status(session, as_json=False))
        return
    address = session.address()
    end = session.screen(
        address.url, address.token, read_only=session.read_only, theme=session.theme
    )
    raise typer.Exit(end.code)


def main(
    argv: Sequence[str], *, screen: Screen | None = None, session: Session | None = None
) -> int:
    """Run one command line.

    Args:
        argv: what follows ``rbee``.
        screen: opens the control center; None where there is no terminal.
        session: places and environment; None: this user's.

    Returns:
        The exit code.
    """
    given = session or Session.of_user()
    given = Session(given.places, given.env, given.queen_url, screen)
    if "_RBEE_COMPLETE" in given.env:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        command().main(args=list(argv), prog_name="rbee", obj=given)
    except SystemExit as done:
        return _code(done.code)
    except RbeeError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`rbee ps | head`): say no more, also at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return EXIT_OK


def command() -> Any:
    """The click command of the whole."""
    app = typer.Typer(
        cls=Root,
        invoke_without_command=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    return typer.main.get_group(app)


def print_error(error: RbeeError) -> None:
    """The error's sentence, and each violation, to stderr."""
    from rbee_tui.cli.output import note

    note(f"rbee: {error.message}")
    violations = (error.details or {}).get("errors")
    if isinstance(violations, list) and len(violations) > 1:
        for item in violations:
            note(f"  {item.get('field', '')}: {item.get('message', '')}")


def _code(code: object) -> int:
    if code is None:
        return EXIT_OK
    return code if isinstance(code, int) else EXIT_FAILED
