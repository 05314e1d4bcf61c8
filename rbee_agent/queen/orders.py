"""What the queen asks of hives: to start a worker, to fetch a model, to stop a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo
from rbee_agent.errors import NotFound, RbeeError, Unavailable, from_body
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.fleet import Node
from rbee_agent.queen.links import Links
from rbee_agent.queen.registry import Registry

SPAWN_TIMEOUT_S = 60.0
PULL_TIMEOUT_S = 6 * 3600.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Orders:
    """Calls to hives, and what they change in the registry."""

    _links: Links
    _registry: Registry
    _catalog: Catalog

    async def spawn(self, node: Node, wish: Deployment) -> WorkerInfo:
        """Have one worker started.

        Raises:
            RbeeError: what the hive refused with.
        """
        request = SpawnRequest(
            model=wish.model,
            backend=wish.backend,
            device=wish.device,
            context=wish.context,
            slots=wish.slots,
            threads=wish.threads,
            extra=wish.extra,
        )
        body = await self._links.call(
            node, "POST", "/v1/workers", json_body=request.dump(), timeout=SPAWN_TIMEOUT_S
        )
        info = WorkerInfo.read(body)
        if info.id not in self._registry.workers:
            self._registry.apply_worker(node, info)
        return info

    async def fetch(self, node: Node, model_id: str, on_news: Callable[[str], None]) -> None:
        """Have a model fetched onto a host; returns when it is there.

        Args:
            node: the host.
            model_id: of the catalog.
            on_news: told the model's id at each step.

        Raises:
            RbeeError: the hive refused, or could not get it.
        """
        model = self._catalog.find(model_id)
        body: Any = {"model": model.dump() if model is not None else model_id}
        try:
            async with asyncio.timeout(PULL_TIMEOUT_S):
                async for event in self._links.stream(node, "/v1/models", json_body=body):
                    if event.event == "error":
                        raise from_body({"error": json.loads(event.data)})
                    self._links.take(node, event, "pull")
                    on_news(model_id)
        except TimeoutError as error:
            raise Unavailable(f"{model_id} was not there after {PULL_TIMEOUT_S:.0f} s") from error
        pull = node.pulls.get(model_id)
        if pull is not None and pull.phase == "error":
            raise Unavailable(f"{node.id} cannot get {model_id}: {pull.error}")

    async def stop(self, ids: list[str]) -> None:
        """Stop workers; one that is gone already is no trouble.

        Raises:
            Unavailable: a hive does not do it.
        """
        for worker_id in ids:
            worker = self._registry.workers.get(worker_id)
            node = self._registry.nodes.get(worker.node_id) if worker is not None else None
            if worker is None or node is None:
                continue
            self._registry.drain_worker(worker_id)
            try:
                await self._links.call(
                    node, "DELETE", f"/v1/workers/{worker_id}", timeout=STOP_TIMEOUT_S
                )
            except NotFound:
                pass  # it is gone: that is what was asked for
            except RbeeError as error:
                raise Unavailable(
                    f"worker {worker_id} could not be stopped: {error.message}"
                ) from error
            self._registry.worker_gone(worker_id, "it was stopped")
