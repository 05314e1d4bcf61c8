"""``rbee status`` and ``rbee top``: the whole fleet in one view."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json, Watch
from rbee_tui.cli.output import emit, emit_json, table
from rbee_tui.cli.ps import worker_table
from rbee_tui.state.units import percent, size

Document = dict[str, Any]


def status(ctx: typer.Context, json: Json = False, watch: Watch = False) -> None:
    """The queen, the hosts and the workers.

    $ rbee status
    $ rbee status --json
    """
    session = sessions.of(ctx)
    if watch:
        from rbee_tui.cli.watch import watch_fleet

        sessions.run(watch_fleet(session, _select, status_text, json))
        return
    sessions.run(print_status(session, as_json=json))


def top(
    ctx: typer.Context,
    json: Json = False,
    once: Annotated[bool, typer.Option("--once", "-1", help="Print once and end.")] = False,
) -> None:
    """What is busy: devices with memory and load, then workers by speed; until Ctrl-C.

    Where stdout is no terminal, or with --json, it prints once.

    $ rbee top --once
    $ rbee top --json
    """
    import sys

    session = sessions.of(ctx)
    if once or json or not sys.stdout.isatty():
        sessions.run(_print_top(session, as_json=json))
        return
    from rbee_tui.cli.watch import watch_fleet

    sessions.run(watch_fleet(session, _select, top_text, False))


async def print_status(session: sessions.Session, *, as_json: bool) -> None:
    """Print what ``rbee status`` prints.

    Raises:
        Unreachable: no queen runs.
    """
    found = await _fetch(session)
    if as_json:
        emit_json(found)
    else:
        emit(status_text(found))


async def _print_top(session: sessions.Session, *, as_json: bool) -> None:
    found = await _fetch(session)
    if as_json:
        emit_json(found)
    else:
        emit(top_text(found))


async def _fetch(session: sessions.Session) -> Document:
    from rbee_agent.client.calls import items

    async with session.queen() as queen:
        version, nodes, workers, running = await asyncio.gather(
            queen.version(),
            queen.raw("GET", "/v2/nodes"),
            queen.raw("GET", "/v2/workers"),
            queen.raw("GET", "/v2/tasks", params={"state": "running"}),
        )
        return {
            "queen": {"url": queen.url, **version.dump()},
            "nodes": items(nodes, "nodes"),
            "workers": items(workers, "workers"),
            "tasks": items(running, "tasks"),
        }


def _select(document: Document) -> Document:
    return {name: document[name] for name in ("queen", "nodes", "workers", "tasks")}


def status_text(document: Document) -> str:
    """Queen, hosts, workers, below each other."""
    queen = document["queen"]
    running = sum(task.get("state") == "running" for task in document["tasks"])
    where = f" at {queen['url']}" if "url" in queen else ""
    parts = [f"queen {queen.get('version', '?')}{where}, {running} running"]
    parts.append(node_table(document["nodes"]) if document["nodes"] else "no hosts yet")
    parts.append(worker_table(document["workers"]) if document["workers"] else "no workers")
    return "\n\n".join(parts)


def node_table(nodes: list[Document]) -> str:
    """Hosts as a table, from their JSON."""
    return table(
        ("HOST", "STATE", "DEVICES", "MEMORY", "LOAD", "MODELS", "VERSION"),
        (
            (
                n.get("hostname") or n.get("id"),
                _state(n),
                ", ".join(str(d.get("id")) for d in n.get("devices", [])),
                _memory(n.get("devices", [])),
                "–" if n.get("load_1m") is None else f"{n['load_1m']:.1f}",
                len(n.get("models", [])),
                n.get("version"),
            )
            for n in nodes
        ),
    )


def top_text(document: Document) -> str:
    """Devices, then workers with the fastest first."""
    devices = [
        (
            node.get("hostname") or node.get("id"),
            device.get("id"),
            device.get("name"),
            f"{size(device.get('memory_used'))}/{size(device.get('memory_total'))}",
            percent(device.get("utilization")),
            "–" if device.get("temperature_c") is None else f"{device['temperature_c']:.0f}°C",
            "–" if device.get("power_w") is None else f"{device['power_w']:.0f}W",
        )
        for node in document["nodes"]
        for device in node.get("devices", [])
    ]
    workers = sorted(document["workers"], key=lambda w: -float(w.get("tokens_per_s") or 0))
    head = ("HOST", "DEVICE", "NAME", "MEMORY", "LOAD", "TEMP", "POWER")
    parts = [table(head, devices) if devices else "no devices"]
    parts.append(worker_table(workers) if workers else "no workers")
    return "\n\n".join(parts)


def _state(node: Document) -> str:
    reason = node.get("reason")
    return f"{node.get('state')} ({reason})" if reason else str(node.get("state"))


def _memory(devices: list[Document]) -> str:
    used = sum(int(d.get("memory_used") or 0) for d in devices)
    total = sum(int(d.get("memory_total") or 0) for d in devices)
    return f"{size(used)}/{size(total)}"
