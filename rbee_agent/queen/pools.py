"""Pools: one model on one host's device; drained, reloaded with a way back, or purged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.pools import DeploymentRequest, PoolInfo
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import Conflict, NotFound, RbeeError, Unavailable
from rbee_agent.queen.deployments import Deployments
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.registry import Registry
from rbee_agent.runtime.clock import Clock

DRAIN_S = 60.0
READY_S = 600.0
"""How long a reloaded model may take to be ready before the old one is taken back."""
_BROKEN = frozenset({WorkerState.FAILED, WorkerState.CRASH_LOOPING, WorkerState.STOPPED})


class Pools:
    """What is done to whole pools. One operation a pool at a time."""

    def __init__(
        self,
        registry: Registry,
        deployments: Deployments,
        feed: Feed,
        clock: Clock,
        *,
        move: Callable[[str, str], None],
    ) -> None:
        """Put it together; `move` takes the streams off a worker, with a reason."""
        self._registry = registry
        self._deployments = deployments
        self._feed = feed
        self._clock = clock
        self._move = move
        self._busy: set[str] = set()

    def all(self) -> dict[str, PoolInfo]:
        """Every pool that has a worker, by id."""
        groups: dict[str, list[Worker]] = {}
        for worker in self._registry.workers.values():
            groups.setdefault(worker.pool_id, []).append(worker)
        return {pool_id: self._info(pool_id, workers) for pool_id, workers in groups.items()}

    def get(self, pool_id: str) -> PoolInfo:
        """One pool.

        Raises:
            NotFound: no worker is in a pool of that id.
        """
        pool = self.all().get(pool_id)
        if pool is None:
            raise NotFound("no such pool; GET /v2/pools lists them")
        return pool

    def begin(self, pool_id: str) -> PoolInfo:
        """Claim a pool for an operation; `end` gives it back.

        Raises:
            NotFound: no such pool.
            Conflict: another operation is under way.
        """
        pool = self.get(pool_id)
        if pool_id in self._busy:
            raise Conflict(f"pool {pool_id} is being drained or reloaded already")
        self._busy.add(pool_id)
        return pool

    async def drain(self, pool: PoolInfo, deadline_s: float = DRAIN_S) -> None:
        """Give the pool nothing new; streams that still run at the deadline go elsewhere."""
        try:
            self._say(pool, "is draining: it gets no new work")
            await self._drain(pool.worker_ids, deadline_s)
            self._say(pool, "is drained")
        finally:
            self._busy.discard(pool.id)

    async def purge(self, pool: PoolInfo) -> None:
        """End the pool's workers now and withdraw the wishes behind them."""
        try:
            await self._drain(pool.worker_ids, 0.0)
            await self._stop(pool.worker_ids)
            self._say(pool, "was purged")
        finally:
            self._busy.discard(pool.id)

    async def reload(self, pool: PoolInfo, model: str, deadline_s: float = DRAIN_S) -> None:
        """Put another model (or the same anew) in the pool's place; the old one stays until then.

        Where both do not fit at a time, the old one goes first, and comes back when the new one
        cannot be had.
        """
        try:
            self._say(pool, f"is being reloaded with {model}")
            try:
                await self._start(pool, model)
            except RbeeError as error:
                if error.code != "INSUFFICIENT_VRAM":
                    raise
                await self._swap(pool, model, deadline_s)
            else:
                await self._drain(pool.worker_ids, deadline_s)
                await self._stop(pool.worker_ids)
            self._say(pool, f"serves {model} now")
        except RbeeError as error:
            self._say(pool, f"keeps its old model: {error.message}", level_error=True)
        finally:
            self._busy.discard(pool.id)

    async def _swap(self, pool: PoolInfo, model: str, deadline_s: float) -> None:
        """Old one out, new one in; on failure the old one in again."""
        await self._drain(pool.worker_ids, deadline_s)
        await self._stop(pool.worker_ids)
        try:
            await self._start(pool, model)
        except RbeeError:
            await self._start(pool, pool.model)
            raise

    async def _start(self, pool: PoolInfo, model: str) -> None:
        """Wish for as many workers of a model in the pool's place, and wait until they are ready.

        Raises:
            RbeeError: they cannot be had; the wish is withdrawn again.
        """
        wish = await self._deployments.add(
            DeploymentRequest(
                model=model,
                node_id=pool.node_id,
                device=pool.device,
                replicas=len(pool.worker_ids),
            )
        )
        try:
            async with asyncio.timeout(READY_S):
                while not self._ready(wish.id):
                    await self._registry.next_change()
        except (TimeoutError, RbeeError) as error:
            await self._deployments.remove(wish.id)
            if isinstance(error, RbeeError):
                raise
            raise Unavailable(f"{model} was not ready within {READY_S:.0f} s") from error

    def _ready(self, wish_id: str) -> bool:
        wish = self._deployments.wishes.get(wish_id)
        if wish is None:
            raise Unavailable("the wish for it was withdrawn")
        failure = self._deployments.setbacks.error(wish_id)
        if failure is not None:
            raise failure
        workers = [self._registry.workers.get(worker_id) for worker_id in wish.worker_ids]
        for worker in workers:
            if worker is not None and worker.info.state in _BROKEN:
                raise Unavailable(worker.info.error or f"its worker is {worker.info.state.value}")
        ready = [w for w in workers if w is not None and w.info.state is WorkerState.READY]
        return len(ready) >= wish.replicas

    async def _drain(self, worker_ids: list[str], deadline_s: float) -> None:
        for worker_id in worker_ids:
            self._registry.drain_worker(worker_id)
        deadline = self._clock.monotonic() + deadline_s
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                while any(self._in_flight(worker_id) for worker_id in worker_ids):
                    await self._registry.next_change()
        except TimeoutError:
            for worker_id in worker_ids:
                self._move(worker_id, "its pool was drained")

    def _in_flight(self, worker_id: str) -> int:
        worker = self._registry.workers.get(worker_id)
        return len(worker.in_flight) if worker is not None else 0

    async def _stop(self, worker_ids: list[str]) -> None:
        for worker_id in worker_ids:
            if worker_id in self._registry.workers:
                await self._deployments.remove(worker_id)

    def _info(self, pool_id: str, workers: list[Worker]) -> PoolInfo:
        first = workers[0]
        node = self._registry.nodes.get(first.node_id)
        usable = node is None or node.state is NodeState.ONLINE
        return PoolInfo(
            id=pool_id,
            model=first.info.model,
            node_id=first.node_id,
            device=first.info.device,
            worker_ids=[worker.info.id for worker in workers],
            slots=sum(worker.info.slots for worker in workers),
            slots_busy=sum(len(worker.in_flight) for worker in workers),
            ready=usable
            and any(w.info.state is WorkerState.READY and not w.draining for w in workers),
            draining=bool(node and node.draining) or any(worker.draining for worker in workers),
        )

    def _say(self, pool: PoolInfo, what: str, *, level_error: bool = False) -> None:
        self._feed.narrate(
            f"pool {pool.id} ({pool.model} on {pool.node_id}) {what}",
            level="error" if level_error else "info",
            noun="pool",
            id=pool.id,
        )
