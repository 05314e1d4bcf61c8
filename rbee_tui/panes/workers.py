"""Workers: state, model, where, slots, speed."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.panes.status import WORKER, status
from rbee_tui.state.served import Served, served
from rbee_tui.state.units import millis, percent, rate, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.meters import sparkline
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import Cell, Piece

MOST_SLOT_MARKS: Final = 4

COLUMNS: Final = (
    Column("state", "STATE", 13),
    Column("worker", "WORKER", 12, grow=2),
    Column("model", "MODEL", 12, grow=3),
    Column("where", "WHERE", 12, grow=2, drop=2),
    Column("slots", "SLOTS", 8, drop=1),
    Column("speed", "TOK/S", 5, right=True),
    Column("history", "LAST MINUTE", 12, drop=7),
    Column("memory", "MEM", 5, right=True, drop=3),
    Column("first", "TTFT", 5, right=True, drop=4),
    Column("cached", "CACHED", 6, right=True, drop=6),
    Column("kv", "KV", 4, right=True, drop=8),
    Column("restarts", "CRASHES", 7, right=True, drop=5),
    Column("up", "UP", 7, right=True, drop=9),
)


def rows(view: View) -> Rows:
    """The workers by model, then by id, so that rows keep their place."""
    order = sorted(view.fleet.workers.values(), key=lambda w: (w.model, w.id))
    tasks: dict[str, Served] = {}

    def make(at: int) -> Row:
        if not tasks:
            tasks.update(served(view.fleet.tasks.values()))
        return _row(view, order[at], tasks.get(order[at].id, Served()))

    return Rows([worker.id for worker in order], make)


def _row(view: View, worker: WorkerInfo, lately: Served) -> Row:
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
        millis(lately.mean_first_token_ms) if lately.tasks else "",
        percent(lately.cached_share) if lately.tasks else "",
        percent(fleet.kv_usage(worker)),
        ((str(worker.restarts), "warn"),) if worker.restarts else "",
        span(view.queen_now - worker.ready_at) if ready and worker.ready_at else "",
    )
    values = (
        worker.state,
        worker.id,
        worker.model,
        f"{host}/{worker.device}",
        float(fleet.slots_busy(worker)),
        speed,
        speed,
        fleet.memory_bytes(worker),
        lately.mean_first_token_ms,
        lately.cached_share,
        fleet.kv_usage(worker),
        float(worker.restarts),
        worker.ready_at and -worker.ready_at,
    )
    return Row(worker.id, cells, dim=not view.link.live, about=("worker", worker.id), values=values)


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


def facts(view: View, worker_id: str) -> list[Fact]:
    """Everything known of one worker."""
    fleet = view.fleet
    worker = fleet.workers.get(worker_id)
    if worker is None:
        return []
    told: list[Fact] = [
        ("worker", worker.id),
        ("state", state_cell(view, worker)),
        ("model", worker.model),
        ("host", f"{worker.node_id or '?'}, {worker.device} ({worker.backend})"),
        ("slots", slots_cell(fleet.slots_busy(worker), worker.slots)),
        ("context", f"{worker.context} tokens a slot"),
        ("speed", f"{rate(fleet.tokens_per_s(worker))} tokens/s"),
        ("last minute", sparkline(fleet.history.get(f"worker/{worker.id}", ()), 30)),
        ("memory", f"{size(fleet.memory_bytes(worker))}, estimated {size(worker.memory_estimate)}"),
        ("KV cache", f"{percent(fleet.kv_usage(worker))} used"),
        ("tokens made", str(worker.tokens_out_total)),
        ("lately", _lately(served(fleet.tasks.values()).get(worker.id, Served()))),
        ("incarnation", f"{worker.incarnation}, {worker.restarts} restarts"),
        ("process", str(worker.pid or "–")),
    ]
    if worker.profile is not None:
        proved = ", ".join(worker.profile.proved) or "nothing yet"
        told += [
            ("exact profile", f"{worker.profile.id} ({worker.profile.device_kind})"),
            ("proved in it", proved),
        ]
    if worker.error:
        told.append(("error", ((worker.error, "bad"),)))
    told += [("log" if at == 0 else "", line) for at, line in enumerate(worker.last_log[-20:])]
    running = [s for s in view.streams.by_job.values() if s.worker_id == worker.id and s.running]
    told += [("stream", f"{s.job_id}, {s.tokens_out} tokens") for s in running]
    return told


def _lately(tasks: Served) -> str:
    if not tasks.tasks:
        return "no task of it is known here"
    many = f"{tasks.tasks} task" if tasks.tasks == 1 else f"{tasks.tasks} tasks"
    return (
        f"{many}, first token after {millis(tasks.mean_first_token_ms)}, "
        f"{percent(tasks.cached_share)} of the tokens read came from the cache"
    )


PANE: Final = NounPane(
    noun="worker",
    title="workers",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="no worker yet: n starts one",
)
