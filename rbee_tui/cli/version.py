"""``rbee version``: this rbee and the queen's."""

from __future__ import annotations

import platform

import typer

from rbee_agent import __version__
from rbee_agent.contracts.versions import PROTOCOL_VERSION
from rbee_agent.errors import Unreachable
from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json, fields


def version(ctx: typer.Context, json: Json = False) -> None:
    """The versions of this rbee, of Python and of the queen, where one runs.

    $ rbee version
    $ rbee version --json
    """
    sessions.run(_print(sessions.of(ctx), as_json=json))


async def _print(session: sessions.Session, *, as_json: bool) -> None:
    queen: dict[str, object] | None
    async with session.queen(timeout=5.0) as client:
        try:
            queen = {"url": client.url, **(await client.version()).dump()}
        except Unreachable:
            queen = None
    document = {
        "rbee": __version__,
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "queen": queen,
    }
    if as_json:
        emit_json(document)
        return
    running = f"{queen.get('version', '?')} at {queen['url']}" if queen else "not running"
    emit(
        fields(
            [
                ("rbee", __version__),
                ("protocol", PROTOCOL_VERSION),
                ("python", platform.python_version()),
                ("queen", running),
            ]
        )
    )
