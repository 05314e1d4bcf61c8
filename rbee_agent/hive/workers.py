"""All workers of this host: preflight, spawn, adoption, leases, the sweep of orphans."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import aiohttp

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.ids import IdFactory
from rbee_agent.contracts.models import ModelFile
from rbee_agent.contracts.nodes import WorkerGauge
from rbee_agent.contracts.routes import WORKER_PORTS
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerReady
from rbee_agent.errors import Conflict, NotFound, RbeeError, Unavailable
from rbee_agent.hive.backends import Backends, choose
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.feed import HiveFeed
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
NODE_ENV = "RBEE_NODE_ID"
ORPHAN_GRACE_S = 5.0


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
        self._records = Records(places.state / "workers")
        self._all: dict[str, HostedWorker] = {}
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._spawning = asyncio.Lock()

    async def start(self, group: asyncio.TaskGroup, *, callback_url: str) -> None:
        """Adopt the workers that live, start anew the wanted ones that died, end orphans."""
        self._group = group
        self._callback_url = callback_url
        known: set[int] = set()
        for record in self._records.all():
            if record.node_id != self._node_id:
                continue
            worker = self._host(record)
            found = record.process
            if found is not None and found.alive:
                known.add(found.pid)
                self._feed.narrate(f"adopted worker {record.id}", about=record.id)
        for process in processes.find_by_environment(NODE_ENV, self._node_id):
            if process.pid not in known and _is_worker(process.cmdline()):
                logs.get("hive").warning("orphan worker ended", pid=process.pid)
                identity = processes.Identity(process.pid, process.create_time())
                await processes.stop(identity, grace_s=ORPHAN_GRACE_S)
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

    async def spawn(self, request: SpawnRequest) -> WorkerInfo:
        """Check everything that can be checked, promise the memory, start the process.

        Raises:
            NotFound: the model is not on this host.
            Conflict: a worker of that id is here already.
            RbeeError: BACKEND_UNAVAILABLE or INSUFFICIENT_VRAM, with what is needed and there.
        """
        assert self._group is not None  # noqa: S101 - started before requests come
        async with self._spawning:
            # One at a time: two spawns must not be promised the same memory.
            file = self._file(request.model)
            worker_id = request.worker_id or self._own_id()
            if worker_id in self._all:
                raise Conflict(f"worker {worker_id} is here already")
            device = choose(
                self.backends,
                self.with_leases(await self._devices.read()),
                backend=request.backend,
                device=request.device,
            )
            record = self._record(worker_id, request, file, device)
            _check_memory(record, device, self._holders(device))
            self._records.write(record)
            worker = self._host(record)
            self._run(worker)
        self._feed.narrate(
            f"starting worker {worker_id}: {file.id} on {device.id}, about "
            f"{_gib(record.memory_estimate)}",
            about=worker_id,
        )
        return worker.info

    async def stop(self, worker_id: str, *, drain_s: float = 0.0) -> None:
        """End a worker for good; returns when its process and its memory are gone.

        Raises:
            NotFound: no such worker.
        """
        worker = self.get(worker_id)
        await worker.stop(drain_s)
        self._all.pop(worker_id, None)
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
        ours = {
            worker.record.pid: worker.record.id
            for worker in self._all.values()
            if worker.record.pid is not None
        }
        result = []
        for device in devices:
            reserved = sum(
                worker.reserved
                for worker in self._all.values()
                if worker.record.device == device.id
            )
            named = [
                process.model_copy(update={"worker_id": ours.get(process.pid)})
                for process in device.processes
            ]
            result.append(
                device.model_copy(
                    update={
                        "memory_reserved": reserved,
                        "memory_free": max(0, device.memory_free - reserved),
                        "processes": named,
                    }
                )
            )
        return result

    def _run(self, worker: HostedWorker) -> None:
        assert self._group is not None  # noqa: S101 - started before anything runs
        task = self._group.create_task(worker.run(), name=worker.record.id)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _host(self, record: WorkerRecord) -> HostedWorker:
        worker = HostedWorker(
            record,
            records=self._records,
            session=self._session,
            log=self._places.logs / f"worker-{record.id}.log",
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
            there = ", ".join(item.id for item in self._shelf.all()) or "none"
            raise NotFound(
                f"{model} is not on this host (there are: {there}); "
                f"get it with `rbee-hive models download {model}`",
                code="MODEL_NOT_FOUND",
            )
        return file

    def _own_id(self) -> str:
        # The queen finds a worker's node in its id, also when the node is away.
        return f"{self._node_id}.{self._new_id('w')[-4:]}"

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
            context=context,
            slots=slots,
            threads=request.threads or self._defaults.threads,
            memory_estimate=need.total,
            started_at=self._clock.utc(),
        )

    def _holders(self, device: Device) -> list[str]:
        mine = [
            f"worker {worker.record.id} ({worker.record.model}) "
            f"{_gib(worker.info.memory_bytes or worker.record.memory_estimate)}"
            for worker in self._all.values()
            if worker.record.device == device.id and worker.record.pid is not None
        ]
        others = [
            f"{process.name} (pid {process.pid}) {_gib(process.used)}"
            for process in device.processes
            if process.worker_id is None
        ]
        return mine + others

    def _choose_port(self) -> int:
        """The first port from the configured one that nobody has or was promised."""
        promised = {worker.record.port for worker in self._all.values()}
        for port in range(self._port_first, min(self._port_first + WORKER_PORTS, 65536)):
            if port not in promised and _is_free(port):
                return port
        last = self._port_first + WORKER_PORTS - 1
        raise Unavailable(f"no free port for a worker in {self._port_first} to {last}")


def _check_memory(record: WorkerRecord, device: Device, holders: list[str]) -> None:
    if device.memory_free >= record.memory_estimate:
        return
    held = "; held by " + ", ".join(holders) if holders else ""
    raise RbeeError(
        f"{record.model} with {record.slots} slots of {record.context} tokens needs about "
        f"{_gib(record.memory_estimate)} on {device.id}, free are {_gib(device.memory_free)} of "
        f"{_gib(device.memory_total)}{held}",
        code="INSUFFICIENT_VRAM",
        details={"need": record.memory_estimate, "free": device.memory_free},
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_worker(command: list[str]) -> bool:
    return any(word == "rbee_agent.worker" or word.endswith("llm-worker-rbee") for word in command)


def _gib(size: int) -> str:
    return f"{size / 1024**3:.2f} GiB"
