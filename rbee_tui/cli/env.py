"""``rbee env``: what other programs need to be told to use this queen."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from rbee_agent.errors import Refused
from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json

NO_KEY = "rbee"
"""Stands in where the queen asks for no key but a client library insists on having one."""


def env(
    ctx: typer.Context,
    editor: Annotated[
        str | None,
        typer.Option(help="Print the settings of an editor: continue, zed, cline or aider."),
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
    key = session.env.get("RBEE_QUEEN_TOKEN") or session.env.get("LLORCH_API_TOKEN") or NO_KEY
    values = exports(url, key)
    if editor is not None:
        emit(snippet(editor, url, key, model))
    elif json:
        emit_json(values)
    else:
        emit("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))


def exports(url: str, key: str) -> dict[str, str]:
    """Environment variables that the official clients read."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "OLLAMA_HOST": url,
    }


def snippet(editor: str, url: str, key: str, model: str) -> str:
    """Settings of an editor or coding agent.

    Raises:
        Refused: an editor that is not known here; names those that are.
    """
    import json

    if editor not in _EDITORS:
        raise Refused(f"no settings for {editor}; there are: {', '.join(_EDITORS)}")
    if editor == "aider":
        return (
            f"# shell\nexport OPENAI_API_BASE={shlex.quote(url + '/v1')}\n"
            f"export OPENAI_API_KEY={shlex.quote(key)}\n"
            f"aider --model {shlex.quote('openai/' + model)}"
        )
    if editor == "continue":
        return (
            "# ~/.continue/config.yaml\nmodels:\n"
            f"  - name: rbee\n    provider: openai\n    model: {json.dumps(model)}\n"
            f"    apiBase: {json.dumps(url + '/v1')}\n    apiKey: {json.dumps(key)}"
        )
    if editor == "cline":
        return (
            "Settings > API Provider: OpenAI Compatible\n"
            f"Base URL: {url}/v1\nAPI Key:  {key}\nModel ID: {model}"
        )
    provider = {
        "api_url": f"{url}/v1",
        "available_models": [{"name": model, "display_name": "rbee", "max_tokens": 8192}],
    }
    document = {"language_models": {"openai_compatible": {"rbee": provider}}}
    return "// ~/.config/zed/settings.json\n" + json.dumps(document, indent=2)


_EDITORS = ("continue", "zed", "cline", "aider")
