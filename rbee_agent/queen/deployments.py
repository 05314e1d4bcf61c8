"""Deployments: wishes for workers that the queen keeps true.

One loop compares what is wished with what is there, whenever either changes. It never restarts a
crashed worker: its hive does that, and reports when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rbee_agent.contracts.ids import IdFactory
from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.pools import Deployment, DeploymentRequest
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import NotFound, RbeeError, Unreachable
from rbee_agent.observe import logs
from rbee_agent.queen import preparation
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.fit import Choice
from rbee_agent.queen.fleet import Node, Worker
from rbee_agent.queen.guard import begin, guarded
from rbee_agent.queen.links import Links
from rbee_agent.queen.orders import Orders
from rbee_agent.queen.policy import Policy
from rbee_agent.queen.queue import is_special
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.room import Room
from rbee_agent.queen.setbacks import Setbacks
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks
from rbee_agent.queen.wishes import Wishes
from rbee_agent.runtime.clock import Clock
from rbee_agent.store.base import Store

ON_DEMAND_TRIES = 5
"""So often what tasks need is tried before they end with the reason."""
SETTLE_S = 5.0
"""A queen that restarts waits so long for the hives she knows before she spawns anything."""

_HOPELESS = frozenset({WorkerState.FAILED, WorkerState.CRASH_LOOPING})
_ENDED = frozenset({WorkerState.STOPPED, WorkerState.STOPPING})


class Deployments:
    """The wishes, and the loop that fulfils them."""

    def __init__(
        self,
        *,
        store: Store,
        feed: Feed,
        registry: Registry,
        links: Links,
        catalog: Catalog,
        tasks: Tasks,
        policy: Policy,
        clock: Clock,
        new_id: IdFactory,
        idle_unload_s: float,
    ) -> None:
        self.wishes = Wishes(store, feed)
        self.setbacks = Setbacks()
        self.on_news: Callable[[str], None] = _nobody
        """Tasks that wait for this model should be looked at again."""
        self._feed = feed
        self._registry = registry
        self._links = links
        self._catalog = catalog
        self._tasks = tasks
        self._orders = Orders(links, registry, catalog)
        self._room = Room(registry, catalog, tasks, policy)
        self._clock = clock
        self._new_id = new_id
        self._idle_unload_s = idle_unload_s
        self.idle_limits: dict[str, float] = {}
        """Seconds after which a model is unloaded, where its last caller said so; by model."""
        self._news = asyncio.Event()
        self._busy: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._settled = False
        self._log = logs.get("deployments")
        registry.on_change = self._news.set

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Read the wishes and begin to fulfil them."""
        self._group = group
        await self.wishes.load()
        group.create_task(self._run(), name="deployments")

    def stop(self) -> None:
        """Start nothing more."""
        self._group = None

    # -- what callers ask -------------------------------------------------------------------

    async def add(self, request: DeploymentRequest, *, on_demand: bool = False) -> Deployment:
        """Keep a new wish, durably.

        Raises:
            NotFound: it names a host that is not registered.
        """
        if request.node_id is not None and request.node_id not in self._registry.nodes:
            raise NotFound(f"no host {request.node_id} is registered; `rbee hive ls` lists them")
        wish = Deployment(
            id=self._new_id("dep"),
            on_demand=on_demand,
            created_at=self._clock.utc(),
            **request.model_dump(),
        )
        await self.wishes.keep(wish)
        self._feed.narrate(
            f"{wish.replicas} worker(s) of {wish.model} are "
            + ("needed by a task" if on_demand else "wished for"),
            noun="deployment",
            id=wish.id,
        )
        self._news.set()
        return wish

    async def remove(self, id: str) -> None:
        """Withdraw a wish, or the wish behind a worker, and stop its workers.

        Raises:
            NotFound: neither a wish nor a worker has that id.
        """
        wish = self.wishes.get(id)
        worker = self._registry.workers.get(id)
        if wish is None and worker is None:
            raise NotFound(f"no worker or deployment {id}; `rbee worker ls` lists them")
        if wish is None:
            wish = self.wishes.behind(id)
        others = [
            name
            for name in (wish.worker_ids if wish is not None else ())
            if name != id and name in self._registry.workers
        ]
        if wish is not None and (worker is None or not others):
            await self._drop(wish)
            await self._orders.stop(wish.worker_ids)
            return
        if wish is not None:
            left = [other for other in wish.worker_ids if other != id]
            await self.wishes.keep(wish, worker_ids=left, replicas=max(1, len(left)))
        await self._orders.stop([id])

    def keep_alive(self, model: str, seconds: float | None) -> None:
        """How long a model that was loaded on demand may idle, as its newest caller wishes.

        Args:
            model: its id.
            seconds: 0: unload it as soon as nothing runs; None: as it is set up.
        """
        before = self.idle_limits.get(model)
        if seconds is None:
            self.idle_limits.pop(model, None)
        else:
            self.idle_limits[model] = seconds
        if seconds != before:
            self._news.set()

    def wanted_by(self, task: Task) -> str | None:
        """A task waits for what no worker can give: have one started, and say how that goes."""
        if not self._settled:
            return "the queen has just started and waits for her hosts to report"
        mine = self.wishes.of_model(task.model)
        if any(_able(wish, task) for wish in mine):
            return preparation.sentence(task.model, mine, self._registry)
        index = self._registry.index(task.model)
        kept_off = is_special(task) and not task.has_output
        if index is not None and kept_off and not task.request.placement.device:
            # There are workers, but a pin or a filter of the task keeps it from all of them.
            return None
        if self._group is not None and task.model not in self._busy:
            self._busy.add(task.model)
            begin(self._group, self._on_demand(task), f"on demand {task.model}")
        return f"a worker of {task.model} is being started"

    def steps(self, model: str) -> list[dict[str, Any]]:
        """What is under way to have a model served."""
        return preparation.steps(model, self.wishes.of_model(model), self._registry)

    async def _on_demand(self, task: Task) -> None:
        try:
            device = task.request.placement.device
            await self.add(DeploymentRequest(model=task.model, device=device), on_demand=True)
        except RbeeError as error:
            await self._tasks.fail(task, error)
        finally:
            self._busy.discard(task.model)

    # -- the loop ---------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._links.settled(SETTLE_S)
        self._settled = True
        while True:
            self._news.clear()
            began = self._clock.monotonic()
            for wish in self.wishes:
                if wish.id not in self._busy:
                    await guarded(self._look_at(wish), f"deployment {wish.id}")
            for model in self._tasks.queue.models():
                self.on_news(model)
            due = self.setbacks.next_at(began)
            wait = 30.0 if due is None else max(0.05, due - self._clock.monotonic())
            try:
                async with asyncio.timeout(min(wait, self._idle_check())):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _idle_check(self) -> float:
        """How often idle workers are looked for."""
        return max(0.2, min(10.0, self._idle_unload_s / 4))

    async def _look_at(self, wish: Deployment) -> None:
        """Compare one wish with what is there."""
        present = [name for name in wish.worker_ids if self._known(name)]
        hopeless = [w for w in self._workers(present) if w.info.state in _HOPELESS]
        whole = sum(map(self._lives, present)) >= wish.replicas
        problem = self._why_hopeless(hopeless[0]) if hopeless else None if whole else wish.problem
        seen = {"worker_ids": present, "problem": problem}
        if wish.model_copy(update=seen) != wish:
            wish = await self.wishes.keep(wish, **seen)
            if self.wishes.get(wish.id) is not wish:
                return  # it was withdrawn or changed while that was written
        if hopeless and len(hopeless) == len(present) and wish.on_demand:
            await self._give_up(
                wish, RbeeError(problem or "", code="REPLICA_EXHAUSTED", retry_after_ms=30_000)
            )
            return
        if wish.on_demand and await self._unload_idle(wish):
            return
        live = [name for name in present if self._lives(name)]
        due = self.setbacks.due(wish.id, self._clock.monotonic())
        if len(live) < wish.replicas and due:
            self._fulfil(wish)
        elif len(live) > wish.replicas:
            await self._shed(wish, live)

    async def _shed(self, wish: Deployment, live: list[str]) -> None:
        """A host came back, and with it a worker that was replaced: idle ones too many go."""
        idle = [
            worker.info.id
            for worker in self._workers(live)
            if worker.info.state is WorkerState.READY and not worker.in_flight
        ]
        extra = idle[: len(live) - wish.replicas]
        if not extra:
            return
        self._feed.narrate(f"{', '.join(extra)} of {wish.model} is one too many and is stopped")
        left = [name for name in wish.worker_ids if name not in extra]
        await self.wishes.keep(wish, worker_ids=left)
        await self._orders.stop(extra)

    def _known(self, worker_id: str) -> bool:
        """Whether a worker belongs to its wish still: it is there, or its host is out of reach.

        A host that was forgotten may come back under another address or key, with its workers.
        """
        worker = self._registry.workers.get(worker_id)
        if worker is not None:
            return worker.info.state not in _ENDED
        # A hive's workers carry its id in front of theirs.
        node = self._registry.nodes.get(worker_id.rpartition(".")[0])
        return node is None or node.state is not NodeState.ONLINE

    def _lives(self, worker_id: str) -> bool:
        """Whether a worker fulfils its wish now (one that its hive will restart does)."""
        worker = self._registry.workers.get(worker_id)
        if worker is None:
            return False
        node = self._registry.nodes.get(worker.node_id)
        return node is not None and node.state is not NodeState.OFFLINE

    def _workers(self, ids: list[str]) -> list[Worker]:
        return [worker for name in ids if (worker := self._registry.workers.get(name)) is not None]

    @staticmethod
    def _why_hopeless(worker: Worker) -> str:
        info = worker.info
        tail = "; its last lines: " + " | ".join(info.last_log[-5:]) if info.last_log else ""
        return f"worker {info.id} is {info.state.value}: {info.error or 'no reason given'}{tail}"

    def _fulfil(self, wish: Deployment) -> None:
        if self._group is None:
            return
        self._busy.add(wish.id)
        begin(self._group, self._spawn(wish), f"spawn for {wish.id}")

    async def _spawn(self, wish: Deployment) -> None:
        """Have one worker more of a wish."""
        try:
            choice = await self._room.choose(wish, self.wishes)
            await self._evict(choice)
            if wish.model not in choice.node.models:
                await self.fetch(choice.node, wish.model)
            info = await self._orders.spawn(choice.node, wish)
            current = self.wishes.get(wish.id)
            if current is None:
                await self._orders.stop([info.id])
                return
            workers = [*current.worker_ids, info.id]
            await self.wishes.keep(current, worker_ids=workers, problem=None)
            self.setbacks.clear(wish.id)
        except RbeeError as error:
            await self._postpone(wish, error)
        finally:
            self._busy.discard(wish.id)
            self._registry.tell_change()

    async def fetch(self, node: Node, model_id: str) -> None:
        """Have a model fetched onto a host; returns when it is there.

        Raises:
            RbeeError: the hive refused, or could not get it.
        """
        await self._orders.fetch(node, model_id, self.on_news)

    async def _evict(self, choice: Choice) -> None:
        """End idle on-demand workers, the least recently used first, to make room."""
        for worker_id in choice.evict:
            wish = self.wishes.behind(worker_id)
            self._feed.narrate(
                f"worker {worker_id} is unloaded: its memory is needed", noun="worker", id=worker_id
            )
            if wish is not None:
                await self._drop(wish)
            await self._orders.stop([worker_id])

    async def _postpone(self, wish: Deployment, error: RbeeError) -> None:
        """The wish cannot be fulfilled now: say why, and try again or give up."""
        current = self.wishes.get(wish.id)
        if current is None:
            return
        setback = self.setbacks.note(wish.id, error, self._clock.monotonic())
        self._log.warning("cannot spawn", model=wish.model, problem=error.message)
        wish = await self.wishes.keep(current, problem=error.message)
        hopeless = not error.retriable and not isinstance(error, Unreachable)
        if wish.on_demand and (hopeless or setback.tries >= ON_DEMAND_TRIES):
            await self._give_up(wish, error)
            return
        if setback.tries == 1:
            self._feed.narrate(
                f"no worker of {wish.model} yet: {error.message}",
                level="warning",
                noun="deployment",
                id=wish.id,
            )
        self.on_news(wish.model)

    async def _give_up(self, wish: Deployment, error: RbeeError) -> None:
        """What was started for tasks cannot be had: they end with the reason."""
        await self._drop(wish)
        for task in list(self._tasks.queue.wait_order(wish.model)):
            await self._tasks.fail(task, error)
        await self._orders.stop(wish.worker_ids)

    async def _unload_idle(self, wish: Deployment) -> bool:
        """End an on-demand wish whose workers have had nothing to do for long enough."""
        workers = self._workers(wish.worker_ids)
        if not workers or self._tasks.queue.length(wish.model):
            return False
        model = self._catalog.find(wish.model)
        limit = model.idle_unload_s if model is not None and model.idle_unload_s else None
        limit_s = float(limit) if limit is not None else self._idle_unload_s
        limit_s = self.idle_limits.get(wish.model, limit_s)
        now = self._clock.monotonic()
        if any(
            worker.in_flight
            or worker.info.state is not WorkerState.READY
            or now - worker.last_used < limit_s
            for worker in workers
        ):
            return False
        self._feed.narrate(
            f"{wish.model} is unloaded: idle for {limit_s:.0f} s", noun="deployment", id=wish.id
        )
        self.idle_limits.pop(wish.model, None)
        await self._drop(wish)
        await self._orders.stop(wish.worker_ids)
        return True

    async def _drop(self, wish: Deployment) -> None:
        await self.wishes.drop(wish)
        self.setbacks.clear(wish.id)


def _able(wish: Deployment, task: Task) -> bool:
    """Whether a wish may give the task a worker one day."""
    device = task.request.placement.device
    return device is None or wish.device in (None, device) or wish.backend == device


def _nobody(_: str) -> None:
    """Before anybody listens."""
