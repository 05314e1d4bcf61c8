"""Models: the catalog, on which hosts, and pulls on their way."""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.models import CatalogModel, PullProgress
from rbee_tui.panes.noun import Fact, NounPane
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.units import percent, size, span
from rbee_tui.state.view import View
from rbee_tui.widgets.meters import bar
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import Cell

COLUMNS: Final = (
    Column("model", "MODEL", 18, grow=2),
    Column("kind", "KIND", 8, drop=3),
    Column("quant", "QUANT", 7, drop=2),
    Column("size", "SIZE", 5, right=True),
    Column("context", "CONTEXT", 7, right=True, drop=4),
    Column("workers", "WORKERS", 7, right=True),
    Column("hosts", "ON HOSTS", 14, grow=2),
    Column("pull", "PULL", 20, grow=1, drop=1),
)


def pulls_of(fleet: Fleet, model_id: str) -> list[PullProgress]:
    """Downloads of the model that are not over."""
    return [
        pull
        for pull in fleet.pulls.values()
        if pull.model == model_id and pull.phase not in ("done",)
    ]


def hosts_of(fleet: Fleet, model_id: str) -> list[str]:
    """Hosts that have the model on disk."""
    return sorted(
        node.hostname or node.id for node in fleet.nodes.values() if model_id in node.models
    )


def rows(view: View) -> Rows:
    """The catalog by name."""
    models = view.fleet.models
    names = sorted(models)
    return Rows(names, lambda at: _row(view, models[names[at]]))


def _row(view: View, model: CatalogModel) -> Row:
    fleet = view.fleet
    workers = sum(w.model == model.id for w in fleet.workers.values())
    hosts = hosts_of(fleet, model.id)
    pulls = pulls_of(fleet, model.id)
    facts = model.facts
    retired = model.state == "Retired"
    name: Cell = ((model.id, "muted" if retired else "strong"),)
    if retired:
        name = (*name, (" retired", "warn"))
    cells: tuple[Cell, ...] = (
        name,
        facts.architecture if facts else "",
        (facts.quantization or "") if facts else "",
        size(model.size),
        str(facts.context_length) if facts and facts.context_length else "",
        ((str(workers), "" if workers else "muted"),),
        ", ".join(hosts) or (("nowhere yet", "muted"),),
        pull_cell(pulls[0]) if pulls else "",
    )
    values = (
        model.id,
        facts.architecture if facts else None,
        facts.quantization if facts else None,
        model.size,
        facts.context_length if facts else None,
        float(workers),
        float(len(hosts)),
        _share(pulls[0]) if pulls else None,
    )
    return Row(model.id, cells, dim=not view.link.live, about=("model", model.id), values=values)


def _share(pull: PullProgress) -> float | None:
    return pull.done / pull.total if pull.total else None


def pull_cell(pull: PullProgress) -> Cell:
    """How far a download is: bar, share, speed."""
    if pull.phase == "error":
        return ((f"✖ {pull.error or 'failed'}", "bad"),)
    share = _share(pull)
    if pull.phase != "download" or share is None:
        return ((f"◌ {pull.phase}", "busy"),)
    speed = f" {size(pull.bytes_per_s)}/s" if pull.bytes_per_s else ""
    return (*bar(share, 8, "busy"), (f" {percent(share)}{speed}", ""))


def facts(view: View, model_id: str) -> list[Fact]:
    """Everything known of one model."""
    model = view.fleet.models.get(model_id)
    if model is None:
        return []
    told: list[Fact] = [
        ("model", model.id),
        ("state", model.state),
        ("size", size(model.size)),
        ("licence", model.license or "–"),
        ("sha256", model.sha256 or "not known yet"),
        ("fingerprint", model.fingerprint or "not known yet"),
        ("unloads after", span(model.idle_unload_s) if model.idle_unload_s else "the default"),
    ]
    if model.description:
        told.append(("about", model.description))
    for source in model.sources:
        file = f" {source.file}" if source.file else ""
        told.append(("source", f"{source.kind}: {source.location}{file}"))
    if model.facts is not None:
        gguf = model.facts
        told += [
            ("architecture", f"{gguf.architecture}, {gguf.layers} layers"),
            ("quantization", gguf.quantization or "–"),
            ("trained for", f"{gguf.context_length} tokens"),
            ("chat template", "yes" if gguf.has_chat_template else "no"),
        ]
    told.append(("on hosts", ", ".join(hosts_of(view.fleet, model.id)) or "none"))
    for worker in view.fleet.workers.values():
        if worker.model == model.id:
            told.append(("worker", f"{worker.id} on {worker.node_id or '?'}, {worker.state}"))
    told += [("pull", pull_cell(pull)) for pull in pulls_of(view.fleet, model.id)]
    return told


PANE: Final = NounPane(
    noun="model",
    title="models",
    columns=COLUMNS,
    rows=rows,
    facts=facts,
    empty="no model yet: a fetches one",
)
