"""All workers of this host: preflight, spawn, adoption, leases, the sweep of orphans."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence

import aiohttp
import psutil

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.ids import IdFactory
from rbee_agent.contracts.models import ModelFile
from rbee_agent.contracts.nodes import WorkerGauge
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerReady
from rbee_agent.errors import Conflict, NotFound, Unreachable
from rbee_agent.hive import leases
from rbee_agent.hive.backends import Backends, choose
from rbee_agent.hive.child_env import NODE_ENV
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.disk import gib
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.identity import new_worker_id
from rbee_agent.hive.log_tail import log_of, prune
from rbee_agent.hive.preflight import (
    check_disk,
    check_file,
    check_memory,
    check_request,
    choose_port,
)
from rbee_agent.hive.reclaim import WAIT_S, Claim, claims, until_back
from rbee_agent.hive.records import Records, WorkerRecord
from rbee_agent.hive.shelf import Shelf
from rbee_agent.hive.worker import HostedWorker
from rbee_agent.models.estimate import estimate
from rbee_agent.observe import logs
from rbee_agent.runtime import processes
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.config import WorkerSettings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret

DEFAULT_CONTEXT = 4096
ORPHAN_GRACE_S = 5.0
PROGRAM = (sys.executable, "-m", "rbee_agent.worker")


class Workers:
    """Owner of this host's worker processes and of the memory promised to them."""

    def __init__(
        self,
        *,
        node_id: str,
        places: Places,
        defaults: WorkerSettings,
        port_first: int,
        devices: Devices,
        shelf: Shelf,
        feed: HiveFeed,
        session: aiohttp.ClientSession,
        callback_token: Secret,
        clock: Clock,
        new_id: IdFactory,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """Put it together; `start` adopts what runs already."""
        self.backends = Backends(problem="the backends are not probed yet")
        self._node_id = node_id
        self._places = places
        self._defaults = defaults
        self._port_first = port_first
        self._devices = devices
        self._shelf = shelf
        self._feed = feed
        self._session = session
        self._callback_token = callback_token
        self._callback_url = ""
        self._clock = clock
        self._new_id = new_id
        self._program = program
        self._records = Records(places.state / "workers")
        self._all: dict[str, HostedWorker] = {}
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._spawning = asyncio.Lock()

    async def start(
        self, group: asyncio.TaskGroup, *, callback_url: str, revive: bool = True
    ) -> None:
        """Adopt the workers that live, end orphans, start anew the wanted ones that died.

        Args:
            group: the workers' tasks run in it.
            callback_url: where workers say that they are ready.
            revive: whether dead ones are started; without it they stay records.
        """
        self._group = group
        self._callback_url = callback_url
        for record in self._records.all():
            found = record.process
            alive = found is not None and found.alive
            if record.node_id != self._node_id or not (alive or revive):
                continue
            if not alive and record.pid is not None:
                # It died while nobody watched: what is started now is another process.
                more = {"incarnation": record.incarnation + 1, "restarts": record.restarts + 1}
                record = record.model_copy(update={"pid": None, "pid_started": None, **more})
            self._host(record)
            if alive:
                self._feed.narrate(f"adopted worker {record.id}", about=record.id)
        adopted = [worker for worker in self._all.values() if worker.record.pid is not None]
        known = {worker.record.pid for worker in adopted}
        orphans = [
            processes.Identity(process.pid, process.create_time())
            for process in processes.find_by_environment(NODE_ENV, self._node_id)
            if process.pid not in known and _is_worker(process)
        ]
        await asyncio.gather(self._end_orphans(orphans), *(worker.look() for worker in adopted))
        logs_of_ours = [worker.log for worker in self._all.values()]
        prune(self._places.logs, logs_of_ours, now=self._clock.utc())
        for worker in self._all.values():
            self._run(worker)

    def leave(self) -> None:
        """Stop watching; the processes and their records stay for the next owner."""
        for task in self._running:
            task.cancel()

    def infos(self) -> list[WorkerInfo]:
        """All workers as they are now."""
        return [worker.info for worker in self._all.values()]

    def gauges(self) -> list[WorkerGauge]:
        """What changes all the time."""
        return [
            WorkerGauge(
                id=info.id,
                slots_busy=info.slots_busy,
                tokens_per_s=info.tokens_per_s,
                tokens_out_total=info.tokens_out_total,
                kv_usage=info.kv_usage,
                memory_bytes=info.memory_bytes,
            )
            for info in self.infos()
        ]

    def get(self, worker_id: str) -> HostedWorker:
        """One worker.

        Raises:
            NotFound: no such worker; names those there are.
        """
        try:
            return self._all[worker_id]
        except KeyError:
            there = ", ".join(self._all) or "none"
            raise NotFound(f"no worker {worker_id} on this host; there are: {there}") from None

    def token_of(self, worker_id: str) -> Secret:
        """What a worker's callers show.

        Raises:
            Unreachable: there is no such worker; names none, for nobody has shown a token yet.
        """
        worker = self._all.get(worker_id)
        if worker is None:
            raise Unreachable("there is no such worker here")
        return Secret(worker.record.token)

    async def spawn(self, request: SpawnRequest) -> WorkerInfo:
        """Check everything that can be checked, promise the memory, start the process.

        Raises:
            NotFound: the model is not on this host.
            Conflict: a worker of that id is here already.
            RbeeError: BACKEND_UNAVAILABLE or INSUFFICIENT_VRAM with what is needed and there, a
                file that is cut short, a full disk, no free port.
        """
        check_request(request)
        assert self._group is not None  # noqa: S101 - started before requests come
        async with self._spawning:
            # One at a time: two spawns must not be promised the same memory.
            file = self._file(request.model)
            worker_id = request.worker_id or new_worker_id(self._node_id, self._new_id)
            if worker_id in self._all:
                raise Conflict(f"worker {worker_id} is here already")
            device = choose(
                self.backends,
                self.with_leases(await self._devices.read()),
                backend=request.backend,
                device=request.device,
            )
            await asyncio.to_thread(check_file, file)
            record = self._record(worker_id, request, file, device)
            check_memory(record, device, leases.holders(device, list(self._all.values())))
            check_disk(self._places.state)
            self._choose_port()
            self._records.write(record)
            worker = self._host(record)
            self._run(worker)
        self._feed.narrate(
            f"starting worker {worker_id}: {file.id} on {device.id}, about "
            f"{gib(record.memory_estimate)}",
            about=worker_id,
        )
        return worker.info

    async def stop(self, worker_id: str, *, drain_s: float = 0.0) -> None:
        """End a worker for good; returns when its process and its memory are gone.

        Raises:
            NotFound: no such worker.
        """
        if worker_id not in self._all:
            async with self._spawning:
                pass  # whoever asked for it has left, and it may just be starting
        worker = self.get(worker_id)
        pid = worker.record.pid
        held = claims(await self._devices.read(), [pid]) if pid is not None else []
        await worker.stop(drain_s)
        await self._see_it_back(held)
        if self._all.pop(worker_id, None) is None:
            return
        self._records.remove(worker_id)
        self._feed.publish("worker_gone", {"id": worker_id})
        self._feed.narrate(f"worker {worker_id} stopped", about=worker_id)

    def on_ready(self, said: WorkerReady) -> None:
        """A worker called back.

        Raises:
            NotFound: it is none of ours.
        """
        self.get(said.worker_id).on_ready(said.health)

    def with_leases(self, devices: Iterable[Device]) -> list[Device]:
        """Devices with what is promised on them taken from what is free, and our workers named."""
        return [leases.applied(device, list(self._all.values())) for device in devices]

    async def _end_orphans(self, orphans: Sequence[processes.Identity]) -> None:
        """End workers of this hive that no record knows, and see their memory back."""
        if not orphans:
            return
        held = claims(await self._devices.read(), [orphan.pid for orphan in orphans])
        for orphan in orphans:
            logs.get("hive").warning("orphan worker ended", pid=orphan.pid)
            self._feed.narrate(f"ended an orphan worker (pid {orphan.pid})", level="warning")
        await asyncio.gather(
            *(processes.stop(orphan, grace_s=ORPHAN_GRACE_S) for orphan in orphans)
        )
        await self._see_it_back(held)

    async def _see_it_back(self, held: Sequence[Claim]) -> None:
        for claim in await until_back(self._devices, held, timeout=WAIT_S):
            pids = ", ".join(map(str, sorted(claim.pids)))
            text = (
                f"the memory of pid {pids} on {claim.device} is not back after {WAIT_S:.0f} s: "
                "the driver may need a reset (nvidia-smi --gpu-reset) or the host a reboot"
            )
            logs.get("hive").warning("memory not back", device=claim.device, pids=pids)
            self._feed.narrate(text, level="warning", about=claim.device)

    def _run(self, worker: HostedWorker) -> None:
        assert self._group is not None  # noqa: S101 - started before anything runs
        task = self._group.create_task(worker.run(), name=worker.record.id)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _host(self, record: WorkerRecord) -> HostedWorker:
        worker = HostedWorker(
            record,
            program=self._program,
            records=self._records,
            session=self._session,
            log=log_of(self._places.logs, record.id),
            choose_port=self._choose_port,
            callback_url=self._callback_url,
            callback_token=self._callback_token.reveal(),
            changed=self._changed,
            clock=self._clock,
        )
        self._all[record.id] = worker
        self._feed.publish("worker", worker.info)
        return worker

    def _changed(self, worker: HostedWorker) -> None:
        if worker.record.id in self._all:
            self._feed.publish("worker", worker.info)

    def _file(self, model: str) -> ModelFile:
        file = self._shelf.get(model)
        if file is None:
            raise self._shelf.missing(model)
        return file

    def _record(
        self, worker_id: str, request: SpawnRequest, file: ModelFile, device: Device
    ) -> WorkerRecord:
        slots = request.slots or self._defaults.slots
        longest = file.facts.context_length or DEFAULT_CONTEXT
        context = request.context or self._defaults.context or min(longest, DEFAULT_CONTEXT)
        need = estimate(
            file.facts,
            context=context,
            slots=slots,
            kv_type=request.extra.get("kv-type", "f16"),
        )
        return WorkerRecord(
            id=worker_id,
            node_id=self._node_id,
            request=request,
            model=file.id,
            path=file.path,
            fingerprint=file.fingerprint,
            token=Secret.new().reveal(),
            backend=device.backend,
            device=device.id,
            device_uuid=device.uuid,
            context=context,
            slots=slots,
            threads=request.threads or self._defaults.threads,
            memory_estimate=need.total,
            started_at=self._clock.utc(),
        )

    def _choose_port(self) -> int:
        """The first port from the configured one that nobody has or was promised."""
        return choose_port(self._port_first, {worker.record.port for worker in self._all.values()})


def _is_worker(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return any(word == "rbee_agent.worker" or word.endswith("llm-worker-rbee") for word in command)
