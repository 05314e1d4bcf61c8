"""Why a task is where it is: the queen's own sentences, then her candidates as a table."""

from __future__ import annotations

from rbee_tui.panes.why import why_task
from rbee_tui.widgets.tones import plain

TOLD = (
    "task-1 waits for m; nobody is in front of it.\nIt \x1b[31mneeds 2 GiB.\n\n"
    "Workers of the model that were looked at (all 1):\n  w-1 on a: chosen"
)


def test_the_queens_sentences_come_first_each_on_its_line() -> None:
    """Nothing that she says is lost, her list of candidates is ours, and escapes are gone."""
    chosen = {"worker_id": "w-1", "node_id": "a", "chosen": True, "score": 1, "parts": {"load": 1}}
    decision = {"workers_of_the_model": 1, "candidates": [chosen]}
    lines = [plain(line) for line in why_task({"text": TOLD, "decision": decision})]

    assert lines[:2] == ["task-1 waits for m; nobody is in front of it.", "It needs 2 GiB."]
    assert sum("looked at" in line for line in lines) == 1
    assert any("score 1 = load 1" in line for line in lines)


def test_where_nothing_was_decided_the_sentences_still_stand() -> None:
    """A task that waits has a reason before it has candidates."""
    lines = [plain(line) for line in why_task({"text": TOLD, "decision": None})]

    assert lines[0] == "task-1 waits for m; nobody is in front of it."
    assert lines[-1] == "nothing was decided yet"
