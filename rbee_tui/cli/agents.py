"""``rbee up`` and ``rbee down``: the queen and the hive of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from rbee_agent.errors import Conflict, RbeeError
from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import Progress, emit, emit_json

if TYPE_CHECKING:
    from rbee_agent.client import QueenClient
    from rbee_agent.contracts.workers import WorkerInfo
    from rbee_agent.settings.places import Places
    from rbee_tui.fleet.local import Agent, Running

LOAD_TIMEOUT_S = 600.0
NODE_TIMEOUT_S = 20.0


def up(
    ctx: typer.Context,
    queen_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the queen (0: any free one).")
    ] = None,
    hive_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the hive (0: any free one).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Also get a worker of this model.")
    ] = None,
    json: Json = False,
) -> None:
    """Start the queen and this machine's hive as daemons of yours; says so if they run already.

    $ rbee up
    $ rbee up --model smollm2-135m
    """
    session = sessions.of(ctx)
    sessions.run(_up(session, ports(queen_port, hive_port), model, as_json=json))


def down(ctx: typer.Context, json: Json = False) -> None:
    """Stop this machine's workers, hive and queen. Wishes are kept: the next up restores them.

    $ rbee down
    """
    session = sessions.of(ctx)
    sessions.run(_down(session, as_json=json))


def ports(queen: int | None, hive: int | None) -> dict[str, str]:
    """Port flags as the environment of the daemons."""
    given = {"RBEE_QUEEN_PORT": queen, "RBEE_HIVE_PORT": hive}
    return {name: str(port) for name, port in given.items() if port is not None}


async def _up(
    session: sessions.Session, extra: Mapping[str, str], model: str | None, *, as_json: bool
) -> None:
    progress = Progress()
    queen, hive, started = await start_agents(session, extra, progress)
    worker = None
    if model is not None:
        async with session.queen() as client:
            worker = await get_worker(client, model, progress)
    progress.clear()
    if as_json:
        emit_json(
            {
                "started": started,
                "queen": {"url": queen.url, "pid": queen.pid},
                "hive": {"url": hive.url, "pid": hive.pid},
                "worker": worker.model_dump(mode="json") if worker else None,
            }
        )
        return
    for agent in (queen, hive):
        how = "started" if agent.name in started else "runs already"
        emit(f"{agent.name} {how} at {agent.url} (pid {agent.pid})")
    if worker is not None:
        emit(f"worker {worker.id} is ready: {worker.model} on {worker.node_id} {worker.device}")


async def start_agents(
    session: sessions.Session, extra: Mapping[str, str], progress: Progress
) -> tuple[Running, Running, list[str]]:
    """Start what does not run yet and wait until the hive is online at the queen.

    What was started here is stopped again where the whole does not come up.

    Returns:
        queen, hive, and the names of those that were started now.

    Raises:
        RbeeError: a daemon did not come up; its own words are in the message.
    """
    from rbee_agent.client.locate import find_queen
    from rbee_agent.client.queen import QueenClient
    from rbee_tui.cli.ready import node_online
    from rbee_tui.fleet import local

    places = session.places
    env = {**session.env, **extra}
    found: dict[str, Running] = {}
    started: list[str] = []
    with local.exclusive(places):
        try:
            for agent in (local.queen_agent(places), local.hive_agent(places)):
                running = local.running(agent)
                if running is None:
                    progress.update(f"starting the {agent.name}")
                    started.append(agent.name)
                    running = await _start(agent, env)
                found[agent.name] = running
            progress.update("waiting for the hive to be online")
            address = find_queen(places, env=session.env, url=found["queen"].url)
            async with QueenClient.at(address) as client:
                await _introduce(client, found["hive"], places)
                await node_online(client, node_id=found["hive"].node_id, timeout=NODE_TIMEOUT_S)
        except BaseException:
            progress.clear()
            for name in reversed(started):
                if name in found:
                    await local.stop(found[name])
            raise
    return found["queen"], found["hive"], started


async def _introduce(queen: QueenClient, hive: Running, places: Places) -> None:
    """Tell the queen where this machine's hive listens now; she looks by herself only at her start.

    Raises:
        RbeeError: the hive left no id in its record, or the queen refused.
    """
    from rbee_agent.contracts.nodes import NodeRegistration

    if hive.node_id is None:
        raise RbeeError(f"the hive at {hive.url} does not say its id; `rbee down`, then `rbee up`")
    token = places.hive_token.read_text().strip()
    await queen.register_node(NodeRegistration(node_id=hive.node_id, url=hive.url, token=token))


async def _start(agent: Agent, env: Mapping[str, str]) -> Running:
    """Start a daemon; a port in use is told with the flag of ``rbee up`` that chooses another."""
    from rbee_tui.fleet import local

    try:
        return await local.start(agent, env=env)
    except Conflict as error:
        hint = f"choose another port with `rbee up --{agent.name}-port N`"
        raise Conflict(f"{error.message}\n{hint}") from error


async def get_worker(
    queen: QueenClient,
    model: str,
    progress: Progress,
    *,
    on_wish: Callable[[str], None] | None = None,
) -> WorkerInfo:
    """A ready worker of a model: the one that is there, or a new one that is waited for.

    Args:
        queen: who gets it.
        model: alias or reference.
        progress: is told of downloads and loading.
        on_wish: told the id of the wish that had to be made, before it is waited for.

    Raises:
        RbeeError: no such model, or no worker of it came up.
    """
    from rbee_agent.contracts.pools import DeploymentRequest
    from rbee_tui.cli.infer import explain_missing
    from rbee_tui.cli.ready import worker_ready

    for worker in await queen.workers():
        if worker.model == model and worker.state == "ready":
            return worker
    progress.update(f"getting a worker of {model}")
    try:
        wish = next((d for d in await queen.deployments() if d.model == model), None)
        if wish is None:
            wish = await queen.spawn(DeploymentRequest(model=model))
            if on_wish is not None:
                on_wish(wish.id)
        return await worker_ready(queen, wish, timeout=LOAD_TIMEOUT_S, tell=progress.update)
    except RbeeError as error:
        if error.code == "MODEL_NOT_FOUND":
            raise await explain_missing(queen, model, error) from error
        raise


async def _down(session: sessions.Session, *, as_json: bool) -> None:
    stopped, killed = await stop_agents(session)
    if as_json:
        emit_json({"stopped": stopped, "killed": killed})
    elif not stopped:
        emit("nothing runs")
    else:
        emit("stopped " + ", ".join(stopped))
    if killed:
        print(f"had to be killed: {', '.join(killed)}", file=sys.stderr)


async def stop_agents(session: sessions.Session) -> tuple[list[str], list[str]]:
    """Stop this user's workers, hive and queen on this machine, and see that they are gone.

    The queen goes first, so that she does not start anew what is being stopped.

    Returns:
        What was stopped, and what had to be killed.

    Raises:
        RbeeError: a process is left.
    """
    from rbee_tui.fleet import local

    places = session.places
    stopped: list[str] = []
    killed: list[str] = []
    with local.exclusive(places):
        queen = local.running(local.queen_agent(places))
        if queen is not None:
            stopped.append("queen")
            if not await local.stop(queen):
                killed.append("queen")
        hive = local.running(local.hive_agent(places))
        if hive is not None:
            count = await _stop_workers(session, hive)
            stopped += [f"{count} worker{'s' if count != 1 else ''}"] if count else []
            stopped.append("hive")
            if not await local.stop(hive):
                killed.append("hive")
        left = local.own_processes(session.env)
        if left:
            names = [f"process {process.pid}" for process in left]
            stopped += names
            if not await local.end(left, timeout=local.STOP_TIMEOUT_S):
                killed += names
        if local.own_processes(session.env):
            raise RbeeError("processes are left that could not be ended", code="INTERNAL")
    return stopped, killed


async def _stop_workers(session: sessions.Session, hive: Running) -> int:
    """Have the hive stop its workers; one that cannot be reached leaves them to the sweep."""
    import asyncio

    from rbee_agent.client.hive import HiveClient

    try:
        token = session.places.hive_token.read_text().strip()
    except FileNotFoundError:
        token = None
    async with HiveClient(hive.url, token, timeout=30.0) as client:
        try:
            workers = [w for w in await client.workers() if w.state not in ("stopped", "failed")]
            await asyncio.gather(*(client.stop_worker(w.id) for w in workers))
        except RbeeError:
            return 0
    return len(workers)
