"""An open connection to one host of hives.toml, for commands that work on one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from rbee_agent.ssh.shell import Shell
from rbee_tui.cli.board import Board
from rbee_tui.cli.session import Session
from rbee_tui.fleet import hosts_file
from rbee_tui.fleet.remote import Remote


@asynccontextmanager
async def on_one(session: Session, name: str) -> AsyncIterator[Remote]:
    """An open connection to one host, with what goes on there shown."""
    host = hosts_file.one(session.places.hosts_file, name)
    async with Board() as board:
        if board.live:
            board.tell(name, "connecting")
        async with await Shell.open(host.target) as shell:
            yield Remote(host, shell, partial(board.tell, name))
