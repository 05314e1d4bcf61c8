"""Hosts: a row for each device, with how full, how busy and how hot it is."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.nodes import NodeInfo, NodeState
from rbee_tui.panes.status import NODE, age_tone, status
from rbee_tui.state.units import percent, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.live_table import Column, Row
from rbee_tui.widgets.meters import sparkline, stacked
from rbee_tui.widgets.tones import Cell, Piece

BAR: Final = 14
HOT_C: Final = 80.0
BUSY: Final = 0.9
FULL: Final = 0.97
"""A card that serves a large model is meant to be full: only the last percents are news."""

COLUMNS: Final = (
    Column("host", "HOST", 16, grow=2),
    Column("device", "DEVICE", 8),
    Column("name", "NAME", 12, grow=3, drop=5),
    Column("memory", "MEMORY", BAR),
    Column("used", "USED/TOTAL", 11, right=True),
    Column("load", "LOAD", 4, right=True),
    Column("history", "LAST MINUTE", 12, drop=4),
    Column("heat", "TEMP", 5, right=True, drop=2),
    Column("power", "POWER", 6, right=True, drop=3),
    Column("age", "AGE", 4, right=True),
)


def rows(view: View) -> list[Row]:
    """The hosts in the order of their names, each with its devices."""
    found: list[Row] = []
    for node in sorted(view.fleet.nodes.values(), key=lambda n: (n.hostname or n.id, n.id)):
        age = view.fleet.age(node.id, view.now)
        dim = not view.link.live or node.state is NodeState.OFFLINE
        for at, device in enumerate(node.devices or [_no_device()]):
            found.append(_row(view, node, device, age=age, first=at == 0, dim=dim))
    return found


def _row(
    view: View, node: NodeInfo, device: Device, *, age: float | None, first: bool, dim: bool
) -> Row:
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
    return Row(f"{node.id}/{device.id}", cells, "muted" if dim else "", ("node", node.id))


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
