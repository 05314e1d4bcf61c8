"""Sessions: conversations that the queen keeps warm for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.state.units import MISSING, percent, span
from rbee_tui.state.view import View
from rbee_tui.widgets.live_table import Column, Row
from rbee_tui.widgets.tones import Cell

COLUMNS: Final = (
    Column("session", "SESSION", 20, grow=2),
    Column("turns", "TURNS", 5, right=True),
    Column("left", "TTL LEFT", 8, right=True),
    Column("warmth", "KV WARM", 7, right=True),
    Column("worker", "WORKER", 10, grow=1, drop=2),
    Column("tokens", "TOKENS LEFT", 11, right=True, drop=1),
)
_PREFIX: Final = "session/"


def _all(view: View) -> dict[str, Mapping[str, Any]]:
    """Sessions as the feed tells of them, and those that tasks name."""
    known: dict[str, Mapping[str, Any]] = {
        task.session_id: {} for task in view.fleet.tasks.values() if task.session_id
    }
    known |= {
        key.removeprefix(_PREFIX): value
        for key, value in view.fleet.others.items()
        if key.startswith(_PREFIX)
    }
    return known


def rows(view: View) -> list[Row]:
    """The sessions by id."""
    return [_row(view, name, value) for name, value in sorted(_all(view).items())]


def _number(value: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        if isinstance(value.get(name), int | float):
            return float(value[name])
    return None


def _row(view: View, id: str, value: Mapping[str, Any]) -> Row:
    turns = _number(value, "turns")
    if turns is None:
        turns = float(sum(t.session_id == id for t in view.fleet.tasks.values()))
    ttl = _number(value, "ttl_left_s", "ttl_s")
    warmth = _number(value, "kv_warmth")
    tokens = _number(value, "tokens_budget_remaining", "tokens_left")
    cells: tuple[Cell, ...] = (
        id,
        f"{turns:.0f}",
        span(ttl),
        percent(warmth),
        str(value.get("worker_id") or ""),
        MISSING if tokens is None else f"{tokens:.0f}",
    )
    values = (id, turns, ttl, warmth, str(value.get("worker_id") or ""), tokens)
    return Row(id, cells, dim=not view.link.live, about=("session", id), values=values)


def facts(view: View, id: str) -> list[Fact]:
    """Everything known of one session, and its tasks."""
    value = _all(view).get(id)
    if value is None:
        return []
    told: list[Fact] = [("session", id)]
    told += [(str(key).replace("_", " "), str(item)) for key, item in sorted(value.items())]
    told += [
        ("task", f"{t.job_id}, {t.state}, {t.timings.tokens_out} tokens")
        for t in view.fleet.tasks.values()
        if t.session_id == id
    ]
    return told


PANE: Final = NounPane(
    noun="session",
    title="sessions",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="no session: a task with a session_id begins one",
)
