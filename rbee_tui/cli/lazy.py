"""Command groups that import only the command that runs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

_PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None}


class LazyGroup(TyperGroup):
    """A group whose commands stand in a table as ``module:name`` and are imported when named."""

    table: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the table's order."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        """Import one command; None where the table has no such name."""
        home = self.table.get(cmd_name)
        if home is None:
            return None
        module, _, name = home.partition(":")
        return build(getattr(importlib.import_module(module), name), cmd_name)


def build(target: Any, name: str) -> Any:
    """The click command of a function, or of a group's Typer."""
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
    else:
        single = typer.Typer(**_PLAIN)
        add(single, target, name)
        command = typer.main.get_command(single)
    command.name = name
    return command


def group(help: str) -> typer.Typer:
    """A group of commands."""
    made = typer.Typer(help=help, no_args_is_help=True, **_PLAIN)
    made.callback()(_nothing)
    return made


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the function is that command of `app`; its docstring is the help."""

    def take(function: Callable[..., None]) -> Callable[..., None]:
        add(app, function, name)
        return function

    return take


def add(app: typer.Typer, function: Callable[..., None], name: str) -> None:
    """Add a command whose help keeps the lines of its examples."""
    app.command(name, help=_help(function))(function)


def _help(function: Callable[..., None]) -> str:
    """The docstring; paragraphs of examples are marked so that they are not re-wrapped."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join("\b\n" + p if p.lstrip().startswith("$ ") else p for p in paragraphs)


def _nothing() -> None:
    return None
