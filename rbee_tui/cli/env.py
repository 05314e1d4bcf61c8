"""``rbee env``: what other programs need to be told to use this queen."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from rbee_agent.client.locate import is_loopback
from rbee_tui.cli import session as sessions
from rbee_tui.cli.editors import EDITORS, Access, snippet
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json, note

NO_KEY = "rbee"
"""Stands in where the queen asks for no key but a client library insists on having one."""


def env(
    ctx: typer.Context,
    editor: Annotated[
        str | None,
        typer.Option(help=f"Print the settings of a program: {', '.join(EDITORS)}."),
    ] = None,
    model: Annotated[
        str, typer.Option("-m", "--model", help="Model that editor settings name.")
    ] = "smollm2-135m",
    json: Json = False,
) -> None:
    """The exports that point OpenAI, Anthropic and Ollama clients at this queen.

    A key is printed only where RBEE_QUEEN_TOKEN holds one; make one with `rbee key create`.

    $ eval "$(rbee env)"
    $ rbee env --editor continue
    """
    session = sessions.of(ctx)
    url = session.address().url
    given = session.env.get("RBEE_QUEEN_TOKEN") or session.env.get("LLORCH_API_TOKEN")
    if given is None and not is_loopback(url):
        note("this queen wants a key: `rbee key create NAME`, then set RBEE_QUEEN_TOKEN")
    key = given or NO_KEY
    values = exports(url, key)
    if editor is not None:
        emit(snippet(editor, Access(url, key, model)))
    elif json:
        emit_json(values)
    else:
        emit("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))


def exports(url: str, key: str) -> dict[str, str]:
    """Environment variables that the official clients read."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "OLLAMA_HOST": url,
        "OLLAMA_API_KEY": key,
    }
