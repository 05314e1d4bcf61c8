"""``rbee model``: the catalog, and what lies on which host."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Watch, Yes
from rbee_tui.cli.output import Progress, confirm, emit, emit_json, fields, note, table
from rbee_tui.state.units import size

app = group("Models: the catalog, and where the files are.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Alias or reference.")]


@command(app, "ls")
def ls(ctx: typer.Context, json: Json = False, watch: Watch = False) -> None:
    """The models that the queen knows, and the hosts that have them.

    $ rbee model ls
    $ rbee model ls --json
    """
    session = sessions.of(ctx)
    if watch:
        from rbee_tui.cli.watch import watch_fleet

        sessions.run(watch_fleet(session, _select, _models_text, json))
        return
    sessions.run(_ls(session, as_json=json))


async def _ls(session: sessions.Session, *, as_json: bool) -> None:
    import asyncio

    from rbee_agent.client.calls import items

    async with session.queen() as queen:
        models, nodes = await asyncio.gather(
            queen.raw("GET", "/v2/catalog/models"), queen.raw("GET", "/v2/nodes")
        )
    document = _select({"models": items(models, "models"), "nodes": items(nodes, "nodes")})
    emit_json(document) if as_json else emit(_models_text(document))


def _select(document: dict[str, Any]) -> dict[str, Any]:
    """Each model with the hosts that have it."""
    return {
        "models": [
            {
                **model,
                "hosts": [
                    node.get("hostname") or node["id"]
                    for node in document["nodes"]
                    if model["id"] in node.get("models", [])
                ],
            }
            for model in document["models"]
        ]
    }


def _models_text(document: dict[str, Any]) -> str:
    if not document["models"]:
        return "the catalog is empty"
    return table(
        ("MODEL", "SIZE", "STATE", "HOSTS", "DESCRIPTION"),
        (
            (
                m["id"],
                size(m.get("size")),
                m.get("state"),
                ", ".join(m["hosts"]),
                m.get("description"),
            )
            for m in document["models"]
        ),
    )


@command(app, "show")
def show(ctx: typer.Context, model: Model, json: Json = False) -> None:
    """One model: sources, size, what its file says of itself.

    $ rbee model show smollm2-135m
    """
    sessions.run(_show(sessions.of(ctx), model, as_json=json))


async def _show(session: sessions.Session, name: str, *, as_json: bool) -> None:
    from rbee_agent.errors import NotFound
    from rbee_tui.cli.infer import explain_missing

    async with session.queen() as queen:
        try:
            model = await queen.model(name)
        except NotFound as error:
            raise await explain_missing(queen, name, error) from error
    if as_json:
        emit_json(model)
        return
    facts = model.facts
    pairs: list[tuple[str, object]] = [
        ("id", model.id),
        ("description", model.description),
        ("license", model.license),
        ("state", model.state),
        ("size", size(model.size) if model.size else None),
        ("sha256", model.sha256),
        ("fingerprint", model.fingerprint),
    ]
    pairs += [("source", f"{s.kind}: {s.location} {s.file or ''}") for s in model.sources]
    if facts is not None:
        pairs += [
            ("architecture", facts.architecture),
            ("quantization", facts.quantization),
            ("layers", facts.layers),
            ("context", facts.context_length),
            ("chat template", "yes" if facts.has_chat_template else "no"),
        ]
    emit(fields(pairs))


@command(app, "pull")
def pull(
    ctx: typer.Context,
    model: Model,
    host: Annotated[str | None, typer.Option(help="Host; without one: the queen's choice.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is there.")] = True,
    timeout: Annotated[float, typer.Option(metavar="S", help="Wait so long.")] = 3600.0,
    json: Json = False,
) -> None:
    """Fetch a model onto a host's disk, checked by its checksum.

    $ rbee model pull smollm2-135m
    """
    sessions.run(_pull(sessions.of(ctx), model, host, wait=wait, timeout=timeout, as_json=json))


async def _pull(
    session: sessions.Session,
    model: str,
    host: str | None,
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    from rbee_agent.errors import NotFound
    from rbee_tui.cli.infer import explain_missing
    from rbee_tui.cli.ready import model_pulled
    from rbee_tui.cli.worker import node_named

    progress = Progress()
    async with session.queen() as queen:
        node_id = await node_named(queen, host)
        try:
            begun = await queen.pull(model, node_id=node_id)
        except NotFound as error:
            raise await explain_missing(queen, model, error) from error
        if not wait:
            emit_json(begun.dump()) if as_json else emit(f"pulling {model}")
            return
        try:
            node = await model_pulled(
                queen, model, node_id=node_id, timeout=timeout, tell=progress.update
            )
        finally:
            progress.clear()
    if as_json:
        emit_json({"model": model, "node_id": node.id})
    else:
        emit(f"{model} is on {node.hostname or node.id}")


@command(app, "verify")
def verify(ctx: typer.Context, model: Model, json: Json = False) -> None:
    """Hash the bytes of a model wherever it lies and compare.

    $ rbee model verify smollm2-135m
    """
    sessions.run(_verify(sessions.of(ctx), model, as_json=json))


async def _verify(session: sessions.Session, model: str, *, as_json: bool) -> None:
    async with session.queen() as queen:
        report = await queen.verify_model(model, timeout=3600.0)
    if as_json:
        emit_json(report.dump())
    else:
        for node_id, verdict in report.nodes.items():
            emit(fields([("host", node_id), *verdict.dump().items()]))
    if report.broken:
        raise SystemExit(EXIT_FAILED)


@command(app, "rm")
def rm(ctx: typer.Context, model: Model, yes: Yes = False) -> None:
    """Take a model out of the catalog; files stay where they are.

    $ rbee model rm MODEL --yes
    """
    if not confirm(f"Take {model} out of the catalog?", yes=yes):
        raise SystemExit(1)
    sessions.run(_rm(sessions.of(ctx), model))


async def _rm(session: sessions.Session, model: str) -> None:
    async with session.queen() as queen:
        await queen.remove_model(model)
    note(f"removed {model} from the catalog")


@command(app, "availability")
def availability(ctx: typer.Context, json: Json = False) -> None:
    """Which host has which model.

    $ rbee model availability
    """
    sessions.run(_availability(sessions.of(ctx), as_json=json))


async def _availability(session: sessions.Session, *, as_json: bool) -> None:
    async with session.queen() as queen:
        if as_json:
            emit_json((await queen.availability()).dump())
            return
        models, nodes = await queen.models(), await queen.nodes()
    emit(
        table(
            ("MODEL", *(node.hostname or node.id for node in nodes)),
            ((m.id, *("yes" if m.id in node.models else "no" for node in nodes)) for m in models),
        )
    )
