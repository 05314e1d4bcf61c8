"""Hosts: a row for each device, with how full, how busy and how hot it is."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.nodes import NodeInfo, NodeState
from rbee_tui.panes.memory import device_blocks
from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.panes.status import NODE, WORKER, age_tone, status
from rbee_tui.state.units import percent, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.meters import EMPTY, sparkline, stacked
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import Cell, Piece

BAR: Final = 12
WIDE_BAR: Final = 30
HOT_C: Final = 80.0
BUSY: Final = 0.9
FULL: Final = 0.97
"""A card that serves a large model is meant to be full: only the last percents are news."""

COLUMNS: Final = (
    Column("host", "HOST", 12, grow=3),
    Column("device", "DEVICE", 7),
    Column("name", "NAME", 12, grow=1, drop=5),
    Column("memory", "MEMORY", BAR),
    Column("used", "USED/TOTAL", 11, right=True),
    Column("load", "LOAD", 4, right=True, drop=1),
    Column("history", "LAST MINUTE", 12, drop=4),
    Column("heat", "TEMP", 5, right=True, drop=2),
    Column("power", "POWER", 6, right=True, drop=3),
    Column("age", "AGE", 5, right=True, drop=1),
)


def rows(view: View) -> Rows:
    """The hosts in the order of their names, each with its devices."""
    nodes = sorted(view.fleet.nodes.values(), key=lambda n: (n.hostname or n.id, n.id))
    found = [
        (node, device, at == 0)
        for node in nodes
        for at, device in enumerate(node.devices or [_no_device()])
    ]
    return Rows([f"{node.id}/{device.id}" for node, device, _ in found],
                lambda at: _row(view, *found[at]))  # fmt: skip


def _row(view: View, node: NodeInfo, device: Device, first: bool) -> Row:
    age = view.fleet.age(node.id, view.now)
    dim = not view.link.live or node.state is NodeState.OFFLINE
    state = status(NODE, node.state)
    name: tuple[Piece, ...] = (("└", "muted"),)
    if first:
        name = ((f"{state.symbol} ", state.tone), (node.hostname or node.id, "strong"))
        if node.state is not NodeState.ONLINE:
            name = (*name, (f" {state.word}", state.tone))
    total = device.memory_total
    history = view.fleet.history.get(f"node/{node.id}", ()) if first else ()
    cells: tuple[Cell, ...] = (
        name,
        device.id,
        (device.error and ((f"▲ {device.error}", "warn"),)) or device.name,
        memory_bar(device, BAR),
        f"{size(device.memory_used)}/{size(total)}" if total else "",
        _load(device.utilization),
        ((sparkline(history, 12, top=1.0), "busy"),),
        _heat(device.temperature_c),
        f"{device.power_w:.0f}W" if device.power_w is not None else "",
        ((span(age), age_tone(age)),) if first else "",
    )
    values = (
        node.hostname or node.id,
        device.id,
        device.name,
        device.memory_used / total if total else None,
        float(device.memory_used),
        device.utilization,
        device.utilization,
        device.temperature_c,
        device.power_w,
        age,
    )
    return Row(f"{node.id}/{device.id}", cells, dim=dim, about=("node", node.id), values=values)


def memory_bar(device: Device, width: int) -> tuple[Piece, ...]:
    """Memory by whose it is: █ our workers, ▓ other processes, ▒ leased and not taken yet."""
    if device.memory_total <= 0:
        return (("", ""),)
    ours = min(device.memory_used, sum(p.used for p in device.processes if p.worker_id is not None))
    others = device.memory_used - ours
    whole = device.memory_total
    full = device.memory_used / whole >= FULL
    return stacked(
        (
            (ours / whole, "█", "warn" if full else "ok"),
            (others / whole, "▓", "accent"),
            (device.memory_reserved / whole, "▒", "busy"),
        ),
        width,
    )


def _load(utilization: float | None) -> Cell:
    return ((percent(utilization), "warn" if (utilization or 0.0) >= BUSY else ""),)


def _heat(celsius: float | None) -> Cell:
    if celsius is None:
        return ""
    hot = celsius >= HOT_C
    return ((f"{'▲' if hot else ''}{celsius:.0f}°", "bad" if hot else ""),)


def _no_device() -> Device:
    return Device(
        id="", backend="", name="no device seen", memory_total=0, memory_used=0, memory_free=0
    )


def facts(view: View, node_id: str) -> list[Fact]:
    """Everything known of one host."""
    node = view.fleet.nodes.get(node_id)
    if node is None:
        return []
    age = view.fleet.age(node.id, view.now)
    state = (*status(NODE, node.state).pieces, (", heard ", "muted"))
    told: list[Fact] = [
        ("host", node.hostname or node.id),
        ("state", (*state, (f"{span(age)} ago", age_tone(age)))),
    ]
    if node.reason:
        told.append(("because", ((node.reason, "warn"),)))
    for device in node.devices:
        told += [(device.id, ((device.name, "strong"),)), *_device_facts(view, node, device)]
    told += [
        ("disk free", size(node.disk_free)),
        ("load", "–" if node.load_1m is None else f"{node.load_1m:.1f}"),
        ("runs", f"rbee {node.version or '?'} on {node.os or '?'} {node.arch or ''}"),
        ("backends", ", ".join(node.backends) or "none"),
        ("models", ", ".join(node.models) or "none on disk"),
    ]
    if node.labels:
        told.append(("labels", ", ".join(f"{k}={v}" for k, v in sorted(node.labels.items()))))
    return told


def _device_facts(view: View, node: NodeInfo, device: Device) -> list[Fact]:
    """Memory as blocks by use, then each worker, then who else is there."""
    blocks = device_blocks(view.fleet, node, device)
    whole = device.memory_total
    told: list[Fact] = [
        ("", stacked([(b.size / whole, b.glyph, b.tone) for b in blocks], WIDE_BAR))
    ]
    if not whole:
        told.clear()
    told += [
        ("", ((f"{b.glyph}{b.glyph} ", b.tone), (f"{b.name} ", ""), (size(b.size), "strong")))
        for b in blocks
        if b.size
    ]
    told.append(("", ((f"{EMPTY}{EMPTY} ", "muted"), (f"free {size(device.memory_free)}", ""),
                      (f" of {size(whole)}", "muted"))))  # fmt: skip
    for worker in view.fleet.workers.values():
        if worker.node_id == node.id and worker.device == device.id:
            state = status(WORKER, worker.state)
            taken = size(view.fleet.memory_bytes(worker))
            told.append(("", ((f"{state.symbol} ", state.tone), (worker.id, "strong"),
                              (f" {worker.model} {taken}", ""))))  # fmt: skip
    parts = [
        "" if device.utilization is None else f"{percent(device.utilization)} busy",
        "" if device.temperature_c is None else f"{device.temperature_c:.0f}°C",
        _watts(device),
        (device.driver and f"driver {device.driver}") or "",
        f"{device.threads} threads" if device.threads else "",
    ]
    told.append(("", ", ".join(part for part in parts if part)))
    told += [
        ("", f"pid {p.pid} {p.name}{f' of {p.user}' if p.user else ''}: {size(p.used)}")
        for p in device.processes
        if p.worker_id is None
    ]
    if device.error:
        told.append(("", ((f"▲ {device.error}", "warn"),)))
    return told


def _watts(device: Device) -> str:
    if device.power_w is None:
        return ""
    limit = f" of {device.power_limit_w:.0f}" if device.power_limit_w else ""
    return f"{device.power_w:.0f}{limit} W"


PANE: Final = NounPane(
    noun="node",
    title="hosts",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="no host yet: a adds one over SSH",
)
