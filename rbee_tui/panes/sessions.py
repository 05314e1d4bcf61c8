"""Sessions: conversations that the queen keeps warm for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.state.units import MISSING, percent, span
from rbee_tui.state.view import View
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import Cell

COLUMNS: Final = (
    Column("session", "SESSION", 20, grow=2),
    Column("state", "STATE", 7),
    Column("turns", "TURNS", 5, right=True),
    Column("left", "TTL LEFT", 8, right=True),
    Column("warmth", "KV WARM", 7, right=True),
    Column("worker", "WORKER", 12, grow=1, drop=2),
    Column("used", "TOKENS", 6, right=True),
    Column("tokens", "BUDGET", 6, right=True, drop=1),
)
_PREFIX: Final = "session/"
_WORDS: Final = {
    "turns": "turns",
    "worker_id": "warm on",
    "tokens_used": "tokens used",
    "time_used_ms": "ms used",
    "tokens_budget_remaining": "tokens left",
    "time_budget_remaining_ms": "ms left",
}


def fingerprint(view: View, id: str) -> tuple[int, int]:
    """What tells that a session changed: its tasks, and how many of them ended."""
    tasks = [task for task in view.fleet.tasks.values() if task.session_id == id]
    return len(tasks), sum(task.state.final for task in tasks)


def with_told(view: View, told: Mapping[str, tuple[float, Mapping[str, Any]]]) -> View:
    """The view with what the queen said of sessions when she was asked.

    Args:
        view: the newest view.
        told: session to (our time of the answer, answer); an empty answer says it is over.
    """
    others = dict(view.fleet.others)
    for name, (at, answer) in told.items():
        value = dict(answer) or {"over": True}
        if "ttl_ms" in answer:
            value["ttl_left_s"] = max(0.0, answer["ttl_ms"] / 1000 - (view.now - at))
        others[f"{_PREFIX}{name}"] = value
    return replace(view, fleet=replace(view.fleet, others=others))


def names(view: View) -> list[str]:
    """The ids of all sessions that are known."""
    return sorted(_all(view))


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


def rows(view: View) -> Rows:
    """The sessions by id."""
    known = sorted(_all(view).items())
    return Rows([name for name, _ in known], lambda at: _row(view, *known[at]))


def _number(value: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        if isinstance(value.get(name), int | float):
            return float(value[name])
    return None


def _row(view: View, id: str, value: Mapping[str, Any]) -> Row:
    turns = _number(value, "turns")
    if turns is None:
        turns = float(sum(t.session_id == id for t in view.fleet.tasks.values()))
    ttl = _number(value, "ttl_left_s")
    warmth, left = _number(value, "kv_warmth"), _number(value, "tokens_budget_remaining")
    used = _number(value, "tokens_used")
    over = bool(value.get("over"))
    cells: tuple[Cell, ...] = (
        id,
        (("○ over", "muted"),) if over else (("● live", "ok"),) if value else "",
        f"{turns:.0f}",
        span(ttl),
        percent(warmth),
        str(value.get("worker_id") or ""),
        MISSING if used is None else f"{used:.0f}",
        "" if left is None else f"{left:.0f}",
    )
    worker = str(value.get("worker_id") or "")
    values = (id, float(over), turns, ttl, warmth, worker, used, left)
    return Row(id, cells, dim=not view.link.live, about=("session", id), values=values)


def facts(view: View, id: str) -> list[Fact]:
    """Everything known of one session, and its tasks."""
    value = _all(view).get(id)
    if value is None:
        return []
    told: list[Fact] = [("session", id)]
    if value.get("over"):
        told.append(("state", "over: the queen forgets a session that idles, or was ended"))
    told += [
        (words, f"{value[key]}") for key, words in _WORDS.items() if value.get(key) is not None
    ]
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
