"""Following the fleet's event feed: for ``--watch`` and for commands that wait for something."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from rbee_agent.runtime.clock import SystemClock
from rbee_tui.cli.output import emit, emit_json
from rbee_tui.cli.session import Session
from rbee_tui.state.events import read_event
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.reducer import reduce

if TYPE_CHECKING:
    from rbee_agent.client import QueenClient

REPRINT_S = 0.5
"""Least time between two prints: what changed in between is shown together."""

Document = dict[str, Any]


async def fleets(queen: QueenClient, *, reconnect: float = 30.0) -> AsyncGenerator[Fleet, None]:
    """The fleet after each event of the feed; the first is the snapshot.

    Raises:
        Unreachable: the queen stayed away longer than `reconnect` seconds.
    """
    fleet = Fleet()
    clock = SystemClock()
    async with aclosing(queen.events(reconnect=reconnect)) as events:
        async for event in events:
            read = read_event(event.event, event.data, received_at=clock.utc())
            if read is not None:
                fleet = reduce(fleet, read)
                yield fleet


def document(fleet: Fleet) -> Document:
    """The fleet as the JSON that the reading commands print."""
    workers = [
        worker.model_copy(
            update={
                "slots_busy": fleet.slots_busy(worker),
                "tokens_per_s": fleet.tokens_per_s(worker),
                "memory_bytes": fleet.memory_bytes(worker),
            }
        ).model_dump(mode="json")
        for worker in fleet.workers.values()
    ]
    return {
        "queen": fleet.queen.model_dump(mode="json") if fleet.queen else {},
        "nodes": _dump(fleet.nodes),
        "workers": workers,
        "tasks": _dump(fleet.tasks),
        "models": _dump(fleet.models),
        "deployments": _dump(fleet.deployments),
    }


def _dump(values: Any) -> list[Document]:
    return [value.model_dump(mode="json") for value in values.values()]


async def watch_fleet(
    session: Session,
    select: Callable[[Document], Document],
    text: Callable[[Document], str],
    as_json: bool,
) -> None:
    """Print a part of the fleet again whenever it changed, until interrupted.

    On a terminal the text is painted over the last one; else each change is a block, or with
    `as_json` one line of JSON.

    Args:
        session: whose queen.
        select: the part of the document that is printed.
        text: how it looks.
        as_json: print JSON.
    """
    changed = asyncio.Event()
    latest: list[Fleet] = []

    async def read() -> None:
        async with session.queen() as queen, aclosing(fleets(queen)) as states:
            async for fleet in states:
                latest[:] = [fleet]
                changed.set()

    async def show() -> None:
        last: Document | None = None
        while True:
            await changed.wait()
            changed.clear()
            now = select(document(latest[0]))
            if now != last:
                last = now
                _print(now, text, as_json)
            await asyncio.sleep(REPRINT_S)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(show())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _print(now: Document, text: Callable[[Document], str], as_json: bool) -> None:
    if as_json:
        emit_json(now)
    elif sys.stdout.isatty():
        emit("\x1b[H\x1b[2J" + text(now))
    else:
        emit(text(now) + "\n\n")
