"""``rbee ps``: the workers. The quickest of all commands: it validates nothing and draws little."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json, Watch
from rbee_tui.cli.output import emit, emit_json, table
from rbee_tui.state.units import rate, size


def ps(ctx: typer.Context, json: Json = False, watch: Watch = False) -> None:
    """The workers of all hosts: state, model, place, slots and speed.

    $ rbee ps
    $ rbee ps --json
    """
    session = sessions.of(ctx)
    if watch:
        from rbee_tui.cli.watch import watch_fleet

        sessions.run(watch_fleet(session, lambda fleet: {"workers": fleet["workers"]}, text, json))
        return
    sessions.run(_print(session, as_json=json))


async def _print(session: sessions.Session, *, as_json: bool) -> None:
    from rbee_agent.client.calls import items

    async with session.queen() as queen:
        workers = items(await queen.raw("GET", "/v2/workers"), "workers")
    if as_json:
        emit_json({"workers": workers})
    else:
        emit(text({"workers": workers}))


def text(document: dict[str, Any]) -> str:
    """The table of ``rbee ps``, or how to get a worker where there is none."""
    workers = document["workers"]
    if not workers:
        return "no workers; start one with: rbee worker spawn cpu --model smollm2-135m"
    return worker_table(workers)


def worker_table(workers: Iterable[dict[str, Any]]) -> str:
    """Workers as a table, from their JSON."""
    return table(
        ("ID", "STATE", "MODEL", "NODE", "DEVICE", "SLOTS", "TOK/S", "MEMORY"),
        (
            (
                w.get("id"),
                _state(w),
                w.get("model"),
                w.get("node_id"),
                w.get("device"),
                f"{w.get('slots_busy', 0)}/{w.get('slots', 0)}",
                rate(w.get("tokens_per_s")),
                size(w.get("memory_bytes")),
            )
            for w in workers
        ),
    )


def _state(worker: dict[str, Any]) -> str:
    state = str(worker.get("state", "?"))
    progress = worker.get("load_progress")
    if state == "loading" and progress is not None:
        return f"loading {progress * 100:.0f}%"
    return state
