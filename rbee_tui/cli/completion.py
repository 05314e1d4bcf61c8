"""``rbee completion``: the script that makes a shell complete rbee's words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from rbee_agent.errors import Refused
from rbee_tui.cli.output import emit

Shell = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[
        str | None, typer.Argument(help="bash, zsh or fish; without one: $SHELL.")
    ] = None,
) -> None:
    """Print the completion script of a shell.

    $ rbee completion bash
    """
    from typer._completion_shared import get_completion_script

    name = shell or Path(os.environ.get("SHELL", "bash")).name
    if name not in ("bash", "zsh", "fish"):
        raise Refused(f"completion knows bash, zsh and fish, not {name}")
    emit(get_completion_script(prog_name="rbee", complete_var="_RBEE_COMPLETE", shell=name))
