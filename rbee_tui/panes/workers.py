"""Workers: state, model, where, slots, speed."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_tui.panes.status import WORKER, status
from rbee_tui.state.units import percent, rate, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.live_table import Column, Row
from rbee_tui.widgets.meters import sparkline
from rbee_tui.widgets.tones import Cell, Piece

MOST_SLOT_MARKS: Final = 6

COLUMNS: Final = (
    Column("state", "STATE", 13),
    Column("worker", "WORKER", 11, grow=2),
    Column("model", "MODEL", 14, grow=3),
    Column("where", "WHERE", 14, grow=2, drop=1),
    Column("slots", "SLOTS", 10),
    Column("speed", "TOK/S", 5, right=True),
    Column("history", "LAST MINUTE", 12, drop=3),
    Column("memory", "MEM", 5, right=True, drop=2),
    Column("cache", "KV", 4, right=True, drop=4),
    Column("up", "UP", 6, right=True, drop=5),
)


def rows(view: View) -> list[Row]:
    """The workers by model, then by id, so that rows keep their place."""
    order = sorted(view.fleet.workers.values(), key=lambda w: (w.model, w.id))
    return [_row(view, worker) for worker in order]


def _row(view: View, worker: WorkerInfo) -> Row:
    fleet = view.fleet
    node = fleet.nodes.get(worker.node_id or "")
    host = (node.hostname or node.id) if node else (worker.node_id or "?")
    ready = worker.state is WorkerState.READY
    speed = fleet.tokens_per_s(worker)
    history = fleet.history.get(f"worker/{worker.id}", ())
    cells: tuple[Cell, ...] = (
        state_cell(view, worker),
        worker.id,
        ((f"▲ {worker.error}", "warn"),) if worker.error and not ready else worker.model,
        f"{host}/{worker.device}",
        slots_cell(fleet.slots_busy(worker), worker.slots),
        ((rate(speed), "strong" if speed else "muted"),),
        ((sparkline(history, 12), "busy"),),
        size(fleet.memory_bytes(worker)),
        percent(fleet.kv_usage(worker)),
        span(view.queen_now - worker.ready_at) if ready and worker.ready_at else "",
    )
    return Row(worker.id, cells, "" if view.link.live else "muted", ("worker", worker.id))


def state_cell(view: View, worker: WorkerInfo) -> tuple[Piece, ...]:
    """Symbol and word, with progress while it loads and the wait before a restart."""
    state = status(WORKER, worker.state)
    more = ""
    if worker.state is WorkerState.LOADING and worker.load_progress is not None:
        more = f" {percent(worker.load_progress)}"
    elif worker.state is WorkerState.BACKOFF and worker.restart_at is not None:
        more = f" {span(max(0.0, worker.restart_at - view.queen_now))}"
    return ((f"{state.symbol} {state.word}{more}", state.tone),)


def slots_cell(busy: int, slots: int) -> tuple[Piece, ...]:
    """Slots as marks, and as numbers where there are too many for marks."""
    if not slots:
        return (("", ""),)
    if slots <= MOST_SLOT_MARKS:
        free = max(0, slots - busy)
        return (("▮" * busy, "ok"), ("▯" * free, "muted"), (f" {busy}/{slots}", ""))
    return ((f"{busy}/{slots}", "ok" if busy else ""),)
