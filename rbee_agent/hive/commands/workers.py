"""``rbee-hive worker``: the worker processes of this host, with a daemon or without."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import aclosing, suppress

import aiohttp

from rbee_agent.client.hive import HiveClient
from rbee_agent.client.worker import WorkerClient
from rbee_agent.contracts.ids import new_id
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerState
from rbee_agent.errors import EXIT_OK, NotFound, RbeeError
from rbee_agent.hive import backends
from rbee_agent.hive.commands import daemon
from rbee_agent.hive.commands.models import shelf
from rbee_agent.hive.commands.output import Progress, print_json, say, say_workers, worker_json
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.identity import new_worker_id, node_id
from rbee_agent.hive.reclaim import WAIT_S, claims, until_back
from rbee_agent.hive.records import Records, WorkerRecord
from rbee_agent.hive.workers import Workers
from rbee_agent.runtime import processes
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.runtime.locks import held
from rbee_agent.settings.config import load
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret

STOP_GRACE_S = 5.0
SPAWN_TIMEOUT_S = 600.0
ASK_TIMEOUT_S = 2.0
_LOCKED = "the workers of this host"
_ENDED = (WorkerState.FAILED, WorkerState.CRASH_LOOPING, WorkerState.STOPPED)


def spawn(args: argparse.Namespace) -> int:
    """Start a worker and wait until it is ready; an interrupted spawn leaves none behind."""
    request = SpawnRequest(
        model=args.model,
        backend=args.backend,
        device=args.gpu,
        context=args.ctx,
        slots=args.slots,
        threads=args.threads,
    )
    places, progress = Places.of_user(), Progress()
    running = daemon.record(places)
    try:
        if running is not None:
            named = new_worker_id(str(running["node_id"]), new_id)
            request = request.model_copy(update={"worker_id": named})
            info = daemon.through(
                places, running, lambda client: spawn_and_wait(client, request, progress)
            )
        else:
            info = asyncio.run(_spawn_alone(places, request, progress))
    finally:
        progress.end()
    if info.state in _ENDED:
        raise RbeeError("\n".join([f"{info.id}: {info.error}", *info.last_log[-10:]]))
    if args.json:
        print_json(worker_json(info))
    else:
        say(f"{info.id}  {info.model}  {info.state.value} on {info.device}")
    return EXIT_OK


def listing(args: argparse.Namespace) -> int:
    """Workers of this host."""
    found = known(Places.of_user())
    if args.json:
        print_json({"workers": [worker_json(info) for info in found]})
    else:
        say_workers(found)
    return EXIT_OK


def stop(args: argparse.Namespace) -> int:
    """End a worker and wait for its memory."""
    places = Places.of_user()
    running = daemon.record(places)
    if running is not None:
        daemon.through(places, running, lambda client: client.stop_worker(args.id, timeout=60))
    else:
        asyncio.run(_stop_alone(places, args.id))
    if args.json:
        print_json({"stopped": args.id})
    else:
        say(f"{args.id} stopped")
    return EXIT_OK


def known(places: Places) -> list[WorkerInfo]:
    """The workers as the daemon knows them, else as their records and they themselves say."""
    running = daemon.record(places)
    if running is not None:
        return daemon.through(places, running, lambda client: client.workers())
    return asyncio.run(_ask_all(Records(places.state / "workers").all()))


async def spawn_and_wait(
    client: HiveClient, request: SpawnRequest, progress: Progress
) -> WorkerInfo:
    """Have a daemon start a worker of the id that `request` names, and see it ready.

    Left before that, also while the daemon has not answered yet, no worker stays.

    Raises:
        RbeeError: the daemon refused, or it took too long.
    """
    try:
        info = await client.spawn(request, timeout=60)
        return await _until_ready(client, info, progress)
    except asyncio.CancelledError:
        with suppress(NotFound):
            await client.stop_worker(str(request.worker_id), timeout=30)
        raise


async def _until_ready(client: HiveClient, info: WorkerInfo, progress: Progress) -> WorkerInfo:
    try:
        async with asyncio.timeout(SPAWN_TIMEOUT_S), aclosing(client.events()) as events:
            async for event in events:
                if event.event == "worker":
                    said = WorkerInfo.read_json(event.data)
                elif event.event == "snapshot":
                    workers = json.loads(event.data).get("workers", [])
                    said = next((WorkerInfo.read(w) for w in workers if w["id"] == info.id), info)
                else:
                    continue
                if said.id == info.id:
                    _tell(progress, said)
                    if said.state in (WorkerState.READY, *_ENDED):
                        return said
    except TimeoutError:
        raise _slow(info) from None
    return info


async def _spawn_alone(places: Places, request: SpawnRequest, progress: Progress) -> WorkerInfo:
    """Without a daemon: start it, see it ready, leave it; a later daemon adopts it."""
    settings = load(places.config_file).settings
    devices = Devices()
    try:
        async with (
            held(places.workers_lock, timeout=SPAWN_TIMEOUT_S, what=_LOCKED),
            aiohttp.ClientSession() as session,
        ):
            owner = Workers(
                node_id=node_id(places, new_id),
                places=places,
                defaults=settings.worker,
                port_first=settings.hive.worker_port_first,
                devices=devices,
                shelf=shelf(places),
                feed=HiveFeed(),
                session=session,
                callback_token=Secret.new(),
                clock=SystemClock(),
                new_id=new_id,
            )
            owner.backends = await backends.probe()
            async with asyncio.TaskGroup() as group:
                info = await _start_one(owner, group, request, progress)
                owner.leave()
            return info
    except ExceptionGroup as group_error:
        # The group holds one thing that can fail: what was asked for.
        raise group_error.exceptions[0] from None
    finally:
        devices.close()


async def _start_one(
    owner: Workers, group: asyncio.TaskGroup, request: SpawnRequest, progress: Progress
) -> WorkerInfo:
    await owner.start(group, callback_url="", revive=False)
    info = await owner.spawn(request)
    worker = owner.get(info.id)
    try:
        async with asyncio.timeout(SPAWN_TIMEOUT_S):
            while worker.info.state not in (WorkerState.READY, *_ENDED):
                _tell(progress, worker.info)
                await worker.news.wait()
                worker.news.clear()
    except BaseException as error:
        await owner.stop(info.id)
        if isinstance(error, TimeoutError):
            raise _slow(info) from None
        raise
    found = worker.info
    if found.state in _ENDED:
        # It is told here; a daemon that starts later need not try it again.
        await owner.stop(info.id)
    return found


async def _stop_alone(places: Places, worker_id: str) -> None:
    records = Records(places.state / "workers")
    async with held(places.workers_lock, timeout=STOP_GRACE_S, what=_LOCKED):
        there = records.all()
        record = next((item for item in there if item.id == worker_id), None)
        if record is None:
            names = ", ".join(item.id for item in there) or "none"
            raise NotFound(f"no worker {worker_id} on this host; there are: {names}")
        if record.process is not None:
            devices = Devices()
            held_before = claims(await devices.read(), [record.process.pid])
            await processes.stop(record.process, grace_s=STOP_GRACE_S)
            await until_back(devices, held_before, timeout=WAIT_S)
            devices.close()
        records.remove(worker_id)


async def _ask_all(records: list[WorkerRecord]) -> list[WorkerInfo]:
    return list(await asyncio.gather(*(_ask(record) for record in records)))


async def _ask(record: WorkerRecord) -> WorkerInfo:
    """A worker as it says itself that it is; one that says nothing is loading, or hangs."""
    info = WorkerInfo(
        id=record.id,
        node_id=record.node_id,
        model=record.model,
        fingerprint=record.fingerprint,
        state=WorkerState.STOPPED,
        backend=record.backend,
        device=record.device,
        context=record.context,
        slots=record.slots,
        memory_estimate=record.memory_estimate,
        started_at=record.started_at,
    )
    if record.process is None or not record.process.alive:
        return info
    info = info.model_copy(update={"state": WorkerState.LOADING, "pid": record.pid})
    try:
        async with WorkerClient(str(record.url), record.token) as client:
            health = await client.health(timeout=ASK_TIMEOUT_S)
    except RbeeError as error:
        return info.model_copy(update={"error": error.message})
    state = WorkerState.READY if health.status == "ready" else WorkerState.LOADING
    return info.model_copy(
        update={
            "state": state,
            "slots_busy": health.slots_busy,
            "load_progress": health.load_progress,
        }
    )


def _tell(progress: Progress, info: WorkerInfo) -> None:
    share = f" {info.load_progress:4.0%}" if info.load_progress else ""
    progress.show(f"{info.id}: {info.state.value}", share)


def _slow(info: WorkerInfo) -> RbeeError:
    return RbeeError(
        f"{info.id} was not ready after {SPAWN_TIMEOUT_S:.0f} s; its log says why",
        code="DEADLINE_EXCEEDED",
    )
