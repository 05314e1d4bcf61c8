"""``rbee key``: API keys of the queen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import emit, emit_json, note, table

app = group("API keys and their roles: admin, submit, node, read.")


@command(app, "create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[
        list[str] | None, typer.Option("--role", help="admin, submit, node or read; may repeat.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a key. Its token is printed once, to stdout, and kept nowhere.

    $ rbee key create laptop --role submit
    """
    sessions.run(_create(sessions.of(ctx), name, role or ["submit"], as_json=json))


async def _create(session: sessions.Session, name: str, roles: list[str], *, as_json: bool) -> None:
    from rbee_agent.contracts.keys import Role
    from rbee_agent.errors import Refused

    try:
        wanted = [Role(role) for role in roles]
    except ValueError:
        raise Refused("roles are " + ", ".join(Role)) from None
    async with session.queen() as queen:
        key = await queen.create_key(name, wanted)
    if as_json:
        emit_json(key.dump())
        return
    note("keep it now; it is not shown again:")
    emit(key.token)


@command(app, "ls")
def ls(ctx: typer.Context, json: Json = False) -> None:
    """The keys, without their tokens.

    $ rbee key ls
    """
    sessions.run(_ls(sessions.of(ctx), as_json=json))


async def _ls(session: sessions.Session, *, as_json: bool) -> None:
    async with session.queen() as queen:
        keys = await queen.keys()
    if as_json:
        emit_json({"keys": [key.model_dump(mode="json") for key in keys]})
        return
    emit(
        table(
            ("ID", "NAME", "ROLES", "CREATED", "REVOKED"),
            (
                (k.id, k.name, ", ".join(k.roles), _day(k.created_at), _day(k.revoked_at))
                for k in keys
            ),
        )
    )


@command(app, "revoke")
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")],
) -> None:
    """Revoke a key at once.

    $ rbee key revoke KEY
    """
    sessions.run(_revoke(sessions.of(ctx), key_id))


async def _revoke(session: sessions.Session, key_id: str) -> None:
    async with session.queen() as queen:
        await queen.revoke_key(key_id)
    note(f"revoked {key_id}")


def _day(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
