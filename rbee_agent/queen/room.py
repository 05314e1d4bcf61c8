"""Room for a new worker: facts, measured peaks, idle workers and the policy, put before `fit`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.fit import Choice, Idle, choose_node, memory_need
from rbee_agent.queen.policy import Policy
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Room:
    """Finds room; ends nobody itself."""

    _registry: Registry
    _catalog: Catalog
    _tasks: Tasks
    _policy: Policy

    async def choose(self, wish: Deployment, wishes: Iterable[Deployment]) -> Choice:
        """The host for one worker more, and who must go for it.

        Raises:
            Unavailable: it fits nowhere; with the numbers.
        """
        need = memory_need(
            wish, self._catalog.facts(wish.model), self._registry.correction(wish.model)
        )
        idle = self._idle(wish.model, wishes)
        if idle and self._policy.has("evict"):
            order = await self._policy.evict([_data(worker) for worker in idle], need)
            by_id = {worker.worker_id: worker for worker in idle}
            idle = [by_id[name] for name in order] if order is not None else idle
        return choose_node(wish, self._registry.nodes.values(), need, idle)

    def _idle(self, wanted: str, wishes: Iterable[Deployment]) -> list[Idle]:
        """On-demand workers of other models with nothing to do, least recently used first."""
        found = [
            worker
            for wish in wishes
            if wish.on_demand and wish.model != wanted and not self._tasks.queue.length(wish.model)
            for name in wish.worker_ids
            if (worker := self._registry.workers.get(name)) is not None
            and not worker.in_flight
            and worker.info.state is WorkerState.READY
        ]
        found.sort(key=lambda worker: worker.last_used)
        return [
            Idle(
                worker.info.id,
                worker.node_id,
                worker.info.device,
                worker.memory,
            )
            for worker in found
        ]


def _data(worker: Idle) -> dict[str, Any]:
    """An idle worker as the policy script sees it."""
    return {
        "id": worker.worker_id,
        "node": worker.node_id,
        "device": worker.device,
        "memory": worker.memory,
    }
