"""The commands of ``rbee-hive``: through the daemon where one runs, on its records where not."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from rbee_agent.client.hive import HiveClient
from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.ids import new_id
from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerState
from rbee_agent.errors import EXIT_FAILED, EXIT_OK, NotFound, RbeeError
from rbee_agent.hive import backends
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.identity import node_id
from rbee_agent.hive.pulls import Puller
from rbee_agent.hive.records import Records
from rbee_agent.hive.shelf import Shelf
from rbee_agent.hive.workers import Workers
from rbee_agent.models import catalog, references
from rbee_agent.runtime import processes
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.runtime.files import read_json
from rbee_agent.settings.config import load
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret

T = TypeVar("T")
STOP_GRACE_S = 5.0
SPAWN_TIMEOUT_S = 600.0
_ENDED = (WorkerState.FAILED, WorkerState.CRASH_LOOPING, WorkerState.STOPPED)


def serve(args: argparse.Namespace) -> int:
    """Run the daemon."""
    from rbee_agent.hive.service import Hive
    from rbee_agent.observe import logs
    from rbee_agent.runtime.service import run_service

    logs.configure(level=args.log_level)
    places = Places.of_user()
    flags = {"hive.host": args.host, "hive.port": args.port, "hive.queen": args.queen}
    settings = load(places.config_file, flags=flags).settings
    hive = Hive(places, settings, SystemClock())

    async def service(stop: asyncio.Event) -> None:
        await hive.run(stop, host=settings.hive.host, port=settings.hive.port)

    run_service(service)
    return EXIT_OK


def detect(args: argparse.Namespace) -> int:
    """Devices and backends of this host."""
    devices = Devices()
    found = asyncio.run(devices.read())
    devices.close()
    built = backends.probe_now()
    if args.json:
        _print_json(
            {
                "devices": [device.dump() for device in found],
                "backends": list(built.names),
                "llama_cpp": built.llama_cpp,
                "problem": built.problem,
            }
        )
        return EXIT_OK
    for device in found:
        free, total = device.memory_free / 1024**3, device.memory_total / 1024**3
        problem = f"  ! {device.error}" if device.error else ""
        _say(f"{device.id:8} {device.name}  {free:.1f} of {total:.1f} GiB free{problem}")
    _say(f"llama.cpp: {built.problem or ', '.join(built.names)}")
    return EXIT_OK


def status(args: argparse.Namespace) -> int:
    """The daemon, its workers and models."""
    places = Places.of_user()
    record = _daemon(places)
    found, files = _workers(places), _shelf(places).all()
    if args.json:
        url = None if record is None else record["url"]
        _print_json({"url": url, "workers": _dumps(found), "models": _dumps(files)})
        return EXIT_OK
    _say("no daemon runs" if record is None else f"daemon: {record['url']} (pid {record['pid']})")
    _say_workers(found)
    _say_models(files)
    return EXIT_OK


def download(args: argparse.Namespace) -> int:
    """Get a model onto this host."""
    places = Places.of_user()
    shelf = _shelf(places)
    model = references.resolve(args.model, catalog.builtin())
    settings = load(places.config_file).settings
    puller = Puller(
        places,
        shelf,
        SystemClock(),
        keep_disk_free=settings.hive.keep_disk_free,
        env=dict(os.environ),
    )
    show = _Progress()
    file = asyncio.run(puller.pull(model, show))
    show.end()
    if args.json:
        _print_json(file.dump())
    else:
        _say(f"{file.id}  {file.path}")
    return EXIT_OK


def models(args: argparse.Namespace) -> int:
    """Models on this host."""
    files = _shelf(Places.of_user()).all()
    if args.json:
        _print_json({"models": _dumps(files)})
    else:
        _say_models(files)
    return EXIT_OK


def show(args: argparse.Namespace) -> int:
    """What a model's file says of itself."""
    file = _file(_shelf(Places.of_user()), args.model)
    if args.json:
        _print_json(file.dump())
        return EXIT_OK
    for name, value in {**file.dump(), **file.facts.dump()}.items():
        if not isinstance(value, dict):
            _say(f"{name:20} {value}")
    return EXIT_OK


def register(args: argparse.Namespace) -> int:
    """Know a GGUF that lies on the disk already."""
    file = _shelf(Places.of_user()).register(args.model, Path(args.path).resolve())
    if args.json:
        _print_json(file.dump())
    else:
        _say(f"{file.id}  {file.path}")
    return EXIT_OK


def remove(args: argparse.Namespace) -> int:
    """Forget a model; delete it if rbee brought it."""
    shelf = _shelf(Places.of_user())
    file = _file(shelf, args.model)
    shelf.remove(args.model, True)
    if args.json:
        _print_json({"removed": file.id, "deleted": file.owned})
    else:
        _say(f"{file.id} forgotten" + (", its file deleted" if file.owned else ""))
    return EXIT_OK


def verify(args: argparse.Namespace) -> int:
    """Hash the bytes and compare; exit 1 where they differ."""
    shelf = _shelf(Places.of_user())
    _file(shelf, args.model)
    found = shelf.verify(args.model)
    if args.json:
        _print_json(found)
    else:
        _say(f"{args.model}: {'whole' if found['ok'] else 'DAMAGED'}  sha256 {found['sha256']}")
    return EXIT_OK if found["ok"] else EXIT_FAILED


def spawn(args: argparse.Namespace) -> int:
    """Start a worker and wait until it is ready."""
    request = SpawnRequest(
        model=args.model,
        backend=args.backend,
        device=args.gpu,
        context=args.ctx,
        slots=args.slots,
        threads=args.threads,
    )
    places = Places.of_user()
    if _daemon(places) is not None:
        info = _through_daemon(places, lambda client: _spawn_and_wait(client, request))
    else:
        info = asyncio.run(_spawn_alone(places, request))
    if info.state in _ENDED:
        raise RbeeError("\n".join([f"{info.id}: {info.error}", *info.last_log[-10:]]))
    if args.json:
        _print_json(info.dump())
    else:
        _say(f"{info.id}  {info.model}  {info.state.value} on {info.device}")
    return EXIT_OK


def workers(args: argparse.Namespace) -> int:
    """Workers of this host."""
    found = _workers(Places.of_user())
    if args.json:
        _print_json({"workers": _dumps(found)})
    else:
        _say_workers(found)
    return EXIT_OK


def stop(args: argparse.Namespace) -> int:
    """End a worker and wait for its memory."""
    places = Places.of_user()
    if _daemon(places) is not None:
        _through_daemon(places, lambda client: client.stop_worker(args.id, timeout=60))
    else:
        asyncio.run(_stop_alone(places, args.id))
    if args.json:
        _print_json({"stopped": args.id})
    else:
        _say(f"{args.id} stopped")
    return EXIT_OK


async def _spawn_and_wait(client: HiveClient, request: SpawnRequest) -> WorkerInfo:
    info = await client.spawn(request, timeout=60)
    async with asyncio.timeout(SPAWN_TIMEOUT_S):
        async for event in client.events():
            if event.event == "worker":
                said = WorkerInfo.read_json(event.data)
            elif event.event == "snapshot":
                known = json.loads(event.data).get("workers", [])
                said = next((WorkerInfo.read(w) for w in known if w["id"] == info.id), info)
            else:
                continue
            if said.id == info.id and said.state in (WorkerState.READY, *_ENDED):
                return said
    return info


async def _spawn_alone(places: Places, request: SpawnRequest) -> WorkerInfo:
    """Without a daemon: start it, see it ready, leave it; a later daemon adopts it."""
    settings = load(places.config_file).settings
    devices = Devices()
    async with aiohttp.ClientSession() as session:
        owner = Workers(
            node_id=node_id(places, new_id),
            places=places,
            defaults=settings.worker,
            port_first=settings.hive.worker_port_first,
            devices=devices,
            shelf=_shelf(places),
            feed=HiveFeed(),
            session=session,
            callback_token=Secret.new(),
            clock=SystemClock(),
            new_id=new_id,
        )
        owner.backends = await backends.probe()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_alone(owner, request))
            info = await watching
    devices.close()
    return info


async def _alone(owner: Workers, request: SpawnRequest) -> WorkerInfo:
    async with asyncio.timeout(SPAWN_TIMEOUT_S), asyncio.TaskGroup() as group:
        await owner.start(group, callback_url="http://127.0.0.1:9/none")
        info = await owner.spawn(request)
        worker = owner.get(info.id)
        while worker.info.state not in (WorkerState.READY, *_ENDED):
            await worker.news.wait()
            worker.news.clear()
        info = worker.info
        owner.leave()
    return info


async def _stop_alone(places: Places, worker_id: str) -> None:
    records = Records(places.state / "workers")
    record = next((item for item in records.all() if item.id == worker_id), None)
    if record is None:
        raise NotFound(f"no worker {worker_id} on this host")
    if record.process is not None:
        await processes.stop(record.process, grace_s=STOP_GRACE_S)
    records.remove(worker_id)


def _through_daemon(places: Places, call: Callable[[HiveClient], Awaitable[T]]) -> T:
    record = _daemon(places)
    assert record is not None  # noqa: S101 - the caller looked

    async def run() -> T:
        token = places.hive_token.read_text().strip()
        async with HiveClient(str(record["url"]), token) as client:
            return await call(client)

    return asyncio.run(run())


def _daemon(places: Places) -> dict[str, Any] | None:
    """The record of this user's daemon, if it lives."""
    record = read_json(places.hive_record)
    if record is None:
        return None
    identity = processes.Identity(int(record["pid"]), float(record["start_time"]))
    return record if identity.alive else None


def _workers(places: Places) -> list[WorkerInfo]:
    if _daemon(places) is not None:
        return _through_daemon(places, lambda client: client.workers())
    return [
        WorkerInfo(
            id=record.id,
            node_id=record.node_id,
            model=record.model,
            state=(
                WorkerState.READY
                if record.process is not None and record.process.alive
                else WorkerState.STOPPED
            ),
            pid=record.pid,
            backend=record.backend,
            device=record.device,
            context=record.context,
            slots=record.slots,
        )
        for record in Records(places.state / "workers").all()
    ]


def _shelf(places: Places) -> Shelf:
    return Shelf(places, SystemClock())


def _file(shelf: Shelf, model: str) -> ModelFile:
    file = shelf.get(model)
    if file is None:
        there = ", ".join(item.id for item in shelf.all()) or "none"
        raise NotFound(
            f"{model} is not on this host (there are: {there}); "
            f"get it with: rbee-hive models download {model}",
            code="MODEL_NOT_FOUND",
        )
    return file


def _say_workers(found: list[WorkerInfo]) -> None:
    for info in found:
        _say(f"{info.id:24} {info.state.value:14} {info.model:24} {info.device:8} {info.pid or ''}")
    if not found:
        _say("no workers")


def _say_models(files: list[ModelFile]) -> None:
    for file in files:
        _say(f"{file.id:24} {file.size / 1024**2:9.0f} MiB  {file.path}")
    if not files:
        _say("no models; get one with: rbee-hive models download smollm2-135m")


def _dumps(values: list[Any]) -> list[dict[str, Any]]:
    return [value.dump() for value in values if isinstance(value, Contract)]


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


class _Progress:
    """A download on stderr: one rewritten line on a terminal, one line a phase elsewhere."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._phase = ""

    def __call__(self, progress: PullProgress) -> None:
        share = f" {progress.done / progress.total:4.0%}" if progress.total else ""
        if self._tty:
            sys.stderr.write(f"\r\033[K{progress.model}: {progress.phase}{share}")
            sys.stderr.flush()
        elif progress.phase != self._phase:
            self._phase = progress.phase
            sys.stderr.write(f"{progress.model}: {progress.phase}\n")

    def end(self) -> None:
        """Leave the line."""
        if self._tty:
            sys.stderr.write("\r\033[K")
