"""``rbee worker``: spawn, list, stop, and read the logs of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json, Watch
from rbee_tui.cli.output import Progress, emit, emit_json, note
from rbee_tui.cli.ps import ps

if TYPE_CHECKING:
    from rbee_agent.client import QueenClient

app = group("Workers: one process, one model each.")

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.")]


@command(app, "spawn")
def spawn(
    ctx: typer.Context,
    backend: Annotated[
        str | None,
        typer.Argument(help="cpu, cuda, metal, rocm or vulkan; without one: the best there is."),
    ] = None,
    model: Annotated[str, typer.Option("-m", "--model", help="Alias or reference.")] = ...,  # type: ignore[assignment]
    host: Annotated[str | None, typer.Option(help="Host; without one: where it fits.")] = None,
    gpu: Annotated[int | None, typer.Option(min=0, help="Index of the GPU.")] = None,
    context: Annotated[
        int | None, typer.Option("--ctx", min=64, help="Tokens of context per slot.")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Streams at a time.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    replicas: Annotated[int, typer.Option(min=1, max=64, help="How many workers.")] = 1,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is ready.")] = True,
    json: Json = False,
) -> None:
    """Start a worker and keep it; the model is fetched where it is missing.

    $ rbee worker spawn cpu --model smollm2-135m
    $ rbee worker spawn cuda --model smollm2-135m --host gpu-1 --gpu 0
    """
    device = f"{backend or 'cuda'}:{gpu}" if gpu is not None else None
    wish = {
        "model": model,
        "backend": backend,
        "node_id": host,
        "device": device,
        "context": context,
        "slots": slots,
        "threads": threads,
        "replicas": replicas,
    }
    session = sessions.of(ctx)
    sessions.run(_spawn(session, wish, wait=wait, as_json=json))


async def _spawn(
    session: sessions.Session, wish: dict[str, Any], *, wait: bool, as_json: bool
) -> None:
    from rbee_agent.contracts.pools import DeploymentRequest
    from rbee_agent.errors import RbeeError
    from rbee_tui.cli.agents import LOAD_TIMEOUT_S
    from rbee_tui.cli.infer import explain_missing
    from rbee_tui.cli.ready import worker_ready

    progress = Progress()
    async with session.queen() as queen:
        wish["node_id"] = await node_named(queen, wish["node_id"])
        request = DeploymentRequest(**{k: v for k, v in wish.items() if v is not None})
        try:
            made = await queen.spawn(request, timeout=60.0)
            worker = (
                await worker_ready(queen, made, timeout=LOAD_TIMEOUT_S, tell=progress.update)
                if wait
                else None
            )
        except RbeeError as error:
            if error.code == "MODEL_NOT_FOUND":
                raise await explain_missing(queen, request.model, error) from error
            raise
        finally:
            progress.clear()
    if worker is None:
        emit_json(made) if as_json else emit(f"wished for: {made.id}")
    elif as_json:
        emit_json(worker)
    else:
        emit(f"worker {worker.id} is ready: {worker.model} on {worker.node_id} {worker.device}")


async def node_named(queen: QueenClient, name: str | None) -> str | None:
    """The id of the host that is called so: by id, by itself, or by the operator.

    Raises:
        NotFound: there is none; the error names those there are.
    """
    from rbee_agent.errors import NotFound

    if name is None:
        return None
    nodes = await queen.nodes()
    for node in nodes:
        if name in (node.id, node.name, node.hostname):
            return str(node.id)
    there = ", ".join(node.hostname or node.id for node in nodes) or "none"
    raise NotFound(f"no host {name}; there are: {there}")


@command(app, "ls")
def ls(ctx: typer.Context, json: Json = False, watch: Watch = False) -> None:
    """The workers of all hosts.

    $ rbee worker ls
    """
    ps(ctx, json, watch)


@command(app, "stop")
def stop(
    ctx: typer.Context,
    worker_ids: Annotated[list[str], typer.Argument(metavar="WORKER...", help="Ids.")],
) -> None:
    """Stop workers and withdraw the wishes behind them.

    $ rbee worker stop WORKER
    """
    sessions.run(_stop(sessions.of(ctx), worker_ids))


async def _stop(session: sessions.Session, worker_ids: list[str]) -> None:
    from rbee_agent.errors import EXIT_PARTLY, RbeeError

    failures: list[RbeeError] = []
    async with session.queen(timeout=60.0) as queen:
        for worker_id in worker_ids:
            try:
                await queen.stop_worker(worker_id)
            except RbeeError as error:
                failures.append(error)
                note(f"rbee: {error.message}")
            else:
                emit(f"stopped {worker_id}")
    if failures:
        partly = len(failures) < len(worker_ids)
        raise SystemExit(EXIT_PARTLY if partly else failures[0].exit_code)


@command(app, "logs")
def logs(
    ctx: typer.Context,
    worker_id: WorkerId,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """A worker's last log lines.

    $ rbee worker logs WORKER -n 20
    """
    sessions.run(_logs(sessions.of(ctx), worker_id, lines, as_json=json))


async def _logs(session: sessions.Session, worker_id: str, lines: int, *, as_json: bool) -> None:
    from rbee_tui.state.clean import clean

    async with session.queen() as queen:
        found = (await queen.worker_logs(worker_id, lines=lines))[-lines:]
    if as_json:
        emit_json({"worker_id": worker_id, "lines": found})
    else:
        emit("\n".join(clean(line) for line in found))
