"""Static workers: engines with no hive, named in ``ORCHD_WORKERS`` and found out by asking.

``http://host:port`` is probed; ``rbee+http://``, ``llama+http://`` and ``openai+http://`` say what
stands there. ``#model`` behind the address names the model of a server that has several. A token
is taken from ``RBEE_UPSTREAM_TOKEN``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rbee_agent.adapters.base import Adapter, Target
from rbee_agent.contracts.nodes import NodeRegistration, NodeState
from rbee_agent.contracts.workers import WorkerHealth, WorkerInfo, WorkerReady, WorkerState
from rbee_agent.errors import RbeeError, Refused
from rbee_agent.observe import logs
from rbee_agent.queen.guard import begin
from rbee_agent.queen.registry import Registry
from rbee_agent.settings.secret import Secret

NODE_ID = "static"
KINDS = ("rbee", "llama", "openai")
PROBE_TIMEOUT_S = 3.0
ASK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class StaticWorker:
    """One address of the list."""

    id: str
    url: str
    kind: str | None
    """None: to be found out."""
    model: str = ""


def parse(text: str) -> list[StaticWorker]:
    """The workers that ``ORCHD_WORKERS`` names.

    Raises:
        Refused: an address is no http(s) URL, or of a kind that we do not know.
    """
    found = []
    for part in (item.strip() for item in text.split(",")):
        if not part:
            continue
        address, _, model = part.partition("#")
        kind, plus, rest = address.partition("+")
        url = rest if plus else address
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused("ORCHD_WORKERS wants addresses such as http://10.0.0.5:8001")
        if plus and kind not in KINDS:
            raise Refused(f"ORCHD_WORKERS knows the kinds {', '.join(KINDS)}, not {kind}")
        name = f"static-{parts.hostname}-{parts.port or parts.scheme}".replace(":", "-")
        found.append(StaticWorker(name, url.rstrip("/"), kind if plus else None, model))
    return found


class Statics:
    """Asks each static worker how it is, and tells the registry."""

    def __init__(
        self,
        workers: list[StaticWorker],
        registry: Registry,
        adapters: Mapping[str, Adapter],
        token: Secret | None,
    ) -> None:
        self._workers = workers
        self._registry = registry
        self._adapters = adapters
        self._token = token
        self._told: dict[str, str] = {}
        """Why a worker could not be had when that was last logged."""
        self._log = logs.get("statics")

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to ask; nothing happens where the list is empty."""
        if not self._workers:
            return
        node = self._registry.add_node(NodeRegistration(node_id=NODE_ID, url="http://static"))
        self._registry.set_node_state(node, NodeState.ONLINE)
        for worker in self._workers:
            begin(group, self._keep(worker), worker.id)

    def add(self, ready: WorkerReady, group: asyncio.TaskGroup) -> None:
        """A worker with no hive said that it is there: it is asked like the named ones."""
        worker = StaticWorker(ready.worker_id, ready.url.rstrip("/"), "rbee", ready.health.model)
        if any(known.id == worker.id for known in self._workers):
            return
        self._workers.append(worker)
        if NODE_ID not in self._registry.nodes:
            self.start(group)
        else:
            begin(group, self._keep(worker), worker.id)

    async def _keep(self, worker: StaticWorker) -> None:
        """There is no event to wait for at a foreign engine: it is asked, at a bounded rate."""
        kind = worker.kind
        while True:
            try:
                kind, health = await self._ask(worker, kind)
                self._report(worker, kind, health)
                self._told.pop(worker.id, None)
            except RbeeError as error:
                self._away(worker, error.message)
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, worker: StaticWorker, kind: str | None) -> tuple[str, WorkerHealth]:
        problem: RbeeError | None = None
        for name in (kind,) if kind is not None else KINDS:
            target = Target(worker.url, self._token, worker.model)
            try:
                health = await self._adapters[name].health(target, timeout=PROBE_TIMEOUT_S)
            except RbeeError as error:
                problem = error
                continue
            return name, health
        raise problem or Refused("no adapter")

    def _report(self, worker: StaticWorker, kind: str, health: WorkerHealth) -> None:
        ready = health.status == "ready"
        known = self._registry.workers.get(worker.id)
        info = WorkerInfo(
            id=worker.id,
            node_id=NODE_ID,
            model=worker.model or health.model,
            fingerprint=health.fingerprint or f"unknown:{worker.id}",
            state=WorkerState.READY if ready else WorkerState.LOADING,
            url=worker.url,
            token=self._token.reveal() if self._token else None,
            backend=health.device.partition(":")[0],
            device=health.device,
            context=health.context,
            slots=health.slots or 1,
            slots_busy=health.slots_busy,
            tokens_per_s=health.tokens_per_s,
            load_progress=health.load_progress or None,
            profile=health.profile,
        )
        if known is not None and known.info == info:
            return
        node = self._registry.nodes[NODE_ID]
        self._registry.apply_worker(node, info, kind=kind, resume=self._adapters[kind].resume)

    def _away(self, worker: StaticWorker, reason: str) -> None:
        if self._told.get(worker.id) != reason:
            self._told[worker.id] = reason
            self._log.warning("static worker away", worker=worker.id, problem=reason)
        known = self._registry.workers.get(worker.id)
        if known is not None and known.info.state is WorkerState.READY:
            info = known.info.model_copy(update={"state": WorkerState.FAILED, "error": reason})
            self._registry.apply_worker(
                self._registry.nodes[NODE_ID], info, kind=known.kind, resume=known.resume
            )
