"""Why: what the queen's explanations, and what we know ourselves, say to a person."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.workers import WorkerState
from rbee_tui.panes.status import NODE, TASK, WORKER, status
from rbee_tui.state.clean import clean, clean_json
from rbee_tui.state.units import percent, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.tones import Cell

_NONE_YET: Cell = (("there is no worker of the model yet", "muted"),)


def why_task(explanation: Mapping[str, Any]) -> list[Cell]:
    """The placement of a task: what was decided, and every candidate with its filter or score."""
    said: Mapping[str, Any] = clean_json(dict(explanation))
    decision = said.get("decision")
    decision = decision if isinstance(decision, dict) else {}
    # Cleaned line by line: cleaned whole, its lines would be one.
    text = str(explanation.get("text") or "")
    sentences = [clean(line) for line in text.splitlines() if line.strip()]
    # The queen's own sentences, up to her list of candidates: that one is a table here.
    lines: list[Cell] = []
    lines += takewhile(lambda line: "Workers of the model" not in line, sentences)
    if policy := decision.get("policy"):
        lines.append((("policy: ", "muted"), (_short(policy), "")))
    candidates = [c for c in decision.get("candidates") or [] if isinstance(c, dict)]
    if not decision:
        return [*lines, (("nothing was decided yet", "muted"),)]
    total = decision.get("workers_of_the_model", len(candidates))
    lines += [
        " ",
        ((f"{len(candidates)} of {total} workers of the model were looked at", "title"),),
    ]
    if any("score" in c for c in candidates):
        lines.append((("the lowest score takes it", "muted"),))
    for candidate in candidates:
        lines += _candidate(candidate)
    return lines if candidates else [*lines, _NONE_YET]


def _candidate(candidate: Mapping[str, Any]) -> list[Cell]:
    name = f"{candidate.get('worker_id', '?')}"
    where = f" on {candidate.get('node_id', '?')}"
    if "busy" in candidate:
        where += f", {candidate.get('busy')}/{candidate.get('slots')} slots busy"
    if "reason" in candidate:
        return [
            (("✖ ", "warn"), (name, "strong"), (where, "muted")),
            (("    not taken: ", "warn"), (str(candidate.get("reason", "")), ""),
             (f" (filter {candidate.get('filter', '?')})", "muted")),
        ]  # fmt: skip
    mark: tuple[str, str] = ("● ", "ok") if candidate.get("chosen") else ("○ ", "muted")
    parts = candidate.get("parts")
    told = ""
    if isinstance(parts, dict):
        told = " = " + " ".join(
            f"{'+' if value >= 0 else '−'} {name} {abs(value):g}"
            for name, value in parts.items()
            if isinstance(value, int | float)
        ).lstrip("+ ")
    return [
        (mark, (name, "strong"), (where, "muted")),
        (("    score ", "muted"), (_short(candidate.get("score", "?")), "strong"), (told, "muted")),
    ]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def why_worker(view: View, worker_id: str) -> list[Cell]:
    """Why a worker is in its state, and who wished for it."""
    worker = view.fleet.workers.get(worker_id)
    if worker is None:
        return [f"The worker {worker_id} is gone."]
    state = status(WORKER, worker.state)
    lines: list[Cell] = [((f"{state.symbol} {state.word}", state.tone),)]
    if worker.error:
        lines.append((("it said: ", "muted"), (worker.error, "bad")))
    if worker.state is WorkerState.BACKOFF and worker.restart_at is not None:
        wait = span(worker.restart_at - view.queen_now)
        lines.append(f"Its hive starts it again in {wait}; it crashed {worker.restarts} times.")
    if worker.state is WorkerState.CRASH_LOOPING:
        lines.append("It crashed 5 times in 5 minutes: its hive leaves it until somebody acts.")
    wishes = [d for d in view.fleet.deployments.values() if worker.id in d.worker_ids]
    for wish in wishes:
        kind = "on demand, it unloads when idle" if wish.on_demand else "wished for, it stays"
        lines.append((("wish ", "muted"), (wish.id, "strong"), (f": {kind}", "")))
        if wish.problem:
            lines.append(((f"    {wish.problem}", "warn"),))
    if not wishes:
        lines.append((("No wish of the queen names it: it was started on its host.", "muted"),))
    if worker.last_log:
        lines += [" ", (("its last words", "title"),), *worker.last_log[-20:]]
    return lines


def why_node(view: View, node_id: str) -> list[Cell]:
    """Why the queen thinks of a host as she does."""
    node = view.fleet.nodes.get(node_id)
    if node is None:
        return [f"The host {node_id} is gone."]
    state = status(NODE, node.state)
    age = span(view.fleet.age(node.id, view.now))
    lines: list[Cell] = [
        ((f"{state.symbol} {state.word}", state.tone),),
        f"The last sign of life came {age} ago.",
    ]
    if node.reason:
        lines.append((("the queen says: ", "muted"), (node.reason, "warn")))
    if node.state is NodeState.SUSPECT:
        lines.append("Without a sign for 3 s a host is suspect and probed; after 5 s offline.")
    if node.state is NodeState.DRAINING:
        lines.append("It finishes what it does and is given nothing new.")
    for device in node.devices:
        if device.error:
            lines.append(((f"▲ {device.id}: {device.error}", "warn"),))
        lines.append(f"{device.id} has {size(device.memory_free)} free.")
    return lines


def why_model(view: View, model_id: str) -> list[Cell]:
    """Why there is no worker of a model, or why there are those."""
    workers = [w for w in view.fleet.workers.values() if w.model == model_id]
    lines: list[Cell] = [
        (*status(WORKER, w.state).pieces, (f" {w.id} on {w.node_id or '?'}", "")) for w in workers
    ]
    if not workers:
        lines.append("No worker serves it now: the next task for it starts one where it fits.")
    for wish in view.fleet.deployments.values():
        if wish.model == model_id:
            there = f": {wish.replicas} wanted, {len(wish.worker_ids)} there"
            lines.append((("wish ", "muted"), (wish.id, "strong"), (there, "")))
            if wish.problem:
                lines.append(((f"    {wish.problem}", "warn"),))
    return lines


def why_session(view: View, session_id: str) -> list[Cell]:
    """Where a session is warm, and what became of its tasks."""
    told = view.fleet.others.get(f"session/{session_id}", {})
    worker = told.get("worker_id")
    lines: list[Cell] = []
    if told.get("over"):
        lines.append("It is over: it idled longer than its time to live, or somebody ended it.")
    elif worker:
        warmth = told.get("kv_warmth")
        lines.append(f"Its tokens are in the cache of {worker}, so its next task is sent there.")
        if isinstance(warmth, int | float):
            lines.append(f"Of what was said so far, {percent(warmth)} need not be read again.")
    else:
        lines.append("No worker has its tokens in a cache: its next task goes where it fits best.")
    ours = [t for t in view.fleet.tasks.values() if t.session_id == session_id]
    lines += [
        (*status(TASK, t.state).pieces, (f" {t.job_id} on {t.worker_id or 'no worker yet'}", ""))
        for t in ours
    ]
    return lines


def why_policy(view: View, _name: str) -> list[Cell]:
    """What decides where a task runs."""
    strategy = view.fleet.queen.policy if view.fleet.queen is not None else None
    return [
        f"The built-in policy {strategy or ''} scores every worker that passes the filters.",
        "A script is asked first: admit, place and evict, each only where the script has it.",
        "Where it has no word, errs or takes too long, the built-in policy decides.",
        (("w on a task shows the candidates of that one decision.", "muted"),),
    ]


def why_event(view: View, seq: str) -> list[Cell]:
    """An event that is about nothing that still is here."""
    told = next((n for n in view.fleet.narration if str(n.seq) == seq), None)
    if told is None:
        return ["The event is no longer kept."]
    return [told.text, ((f"{told.actor} said so at {view.clock(told.at)}.", "muted"),)]
