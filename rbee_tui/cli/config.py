"""``rbee config``: what is set, and what may be."""

from __future__ import annotations

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json, table

app = group("Configuration: config.toml, environment, defaults.")


@command(app, "show")
def show(ctx: typer.Context, json: Json = False) -> None:
    """The effective values and where each came from; secrets are not shown.

    $ rbee config show
    """
    from rbee_agent.settings.config import known_keys, load

    session = sessions.of(ctx)
    loaded = load(session.places.config_file, env=session.env)
    values = {}
    for dotted in known_keys():
        section, _, key = dotted.partition(".")
        value = getattr(getattr(loaded.settings, section), key)
        if key == "token" and value is not None:
            value = "(set)"
        values[dotted] = {"value": value, "origin": loaded.origin.get(dotted, "default")}
    if json:
        emit_json({"file": str(session.places.config_file), "values": values})
        return
    emit(
        table(
            ("KEY", "VALUE", "FROM"),
            ((dotted, item["value"], item["origin"]) for dotted, item in values.items()),
        )
    )


@command(app, "schema")
def schema() -> None:
    """The JSON Schema of config.toml.

    $ rbee config schema
    """
    from rbee_agent.settings.config import Settings

    emit_json(Settings.model_json_schema())


@command(app, "path")
def path(ctx: typer.Context) -> None:
    """Where config.toml is looked for.

    $ rbee config path
    """
    emit(str(sessions.of(ctx).places.config_file))
