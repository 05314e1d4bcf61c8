"""The control plane: hosts, workers, the wishes behind them, pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rbee_agent.client.calls import Calls, items, listed, parsed, segment

if TYPE_CHECKING:
    from rbee_agent.contracts.hosts import HostInfo, HostRegistration, QueenKey
    from rbee_agent.contracts.nodes import NodeInfo, NodeRegistration
    from rbee_agent.contracts.pools import Deployment, DeploymentRequest, PoolInfo
    from rbee_agent.contracts.workers import WorkerInfo


class FleetCalls(Calls):
    """What runs where, and what should."""

    async def nodes(self) -> list[NodeInfo]:
        """The hosts that run a hive."""
        from rbee_agent.contracts.nodes import NodeInfo

        return listed(NodeInfo, await self.raw("GET", "/v2/nodes"), "nodes")

    async def register_node(self, registration: NodeRegistration) -> NodeInfo:
        """Tell the queen of a hive that she can reach."""
        from rbee_agent.contracts.nodes import NodeInfo

        return parsed(NodeInfo, await self.raw("POST", "/v2/nodes/register", json=registration))

    async def drain_node(self, node_id: str, *, drain: bool = True) -> None:
        """Let a host finish what it does and give it nothing new; or take it back."""
        await self.raw("POST", f"/v2/nodes/{segment(node_id)}/drain", json={"drain": drain})

    async def remove_node(self, node_id: str) -> None:
        """Forget a host."""
        await self.raw("DELETE", f"/v2/nodes/{segment(node_id)}")

    async def hosts(self) -> list[HostInfo]:
        """The hosts that the queen reaches by SSH, with the state of each connection."""
        from rbee_agent.contracts.hosts import HostInfo

        return listed(HostInfo, await self.raw("GET", "/v2/hosts"), "hosts")

    async def add_host(self, registration: HostRegistration) -> HostInfo:
        """Have the queen reach a host by SSH and take up its hive."""
        from rbee_agent.contracts.hosts import HostInfo

        return parsed(HostInfo, await self.raw("POST", "/v2/hosts", json=registration))

    async def remove_host(self, name: str) -> None:
        """Forget a host that is reached by SSH; what runs there goes on."""
        await self.raw("DELETE", f"/v2/hosts/{segment(name)}")

    async def queen_key(self) -> QueenKey:
        """The public half of the key that the queen shows to hosts."""
        from rbee_agent.contracts.hosts import QueenKey

        return parsed(QueenKey, await self.raw("GET", "/v2/hosts/key"))

    async def workers(self) -> list[WorkerInfo]:
        """The workers of all hosts."""
        from rbee_agent.contracts.workers import WorkerInfo

        body = await self.raw("GET", "/v2/workers")
        return listed(WorkerInfo, body, "workers")

    async def spawn(
        self, request: DeploymentRequest, *, timeout: float | None = None
    ) -> Deployment:
        """Wish for workers of a model; the queen keeps the wish true."""
        from rbee_agent.contracts.pools import Deployment

        return parsed(
            Deployment, await self.raw("POST", "/v2/workers", json=request, timeout=timeout)
        )

    async def stop_worker(self, worker_id: str, *, timeout: float | None = None) -> None:
        """Stop a worker (or a whole deployment) and withdraw the wish behind it."""
        await self.raw("DELETE", f"/v2/workers/{segment(worker_id)}", timeout=timeout)

    async def worker_logs(self, worker_id: str, *, lines: int | None = None) -> list[str]:
        """A worker's last log lines."""
        path = f"/v2/workers/{segment(worker_id)}/logs"
        body = await self.raw("GET", path, params={"lines": lines})
        return [str(line) for line in items(body, "lines")]

    async def deployments(self) -> list[Deployment]:
        """The wishes that the queen keeps."""
        from rbee_agent.contracts.pools import Deployment

        body = await self.raw("GET", "/v2/deployments")
        return listed(Deployment, body, "deployments")

    async def pools(self) -> list[PoolInfo]:
        """Workers by model, host and device."""
        from rbee_agent.contracts.pools import PoolInfo

        return listed(PoolInfo, await self.raw("GET", "/v2/pools"), "pools")

    async def drain_pool(self, pool_id: str, *, deadline_ms: int = 60_000) -> PoolInfo:
        """Give a pool nothing new; what still runs after `deadline_ms` goes elsewhere."""
        return await self._pool(pool_id, "drain", {"deadline_ms": deadline_ms})

    async def reload_pool(
        self, pool_id: str, model: str | None = None, *, deadline_ms: int = 60_000
    ) -> PoolInfo:
        """Put another model (None: the same anew) in a pool's place; it stays where that fails."""
        body = {"deadline_ms": deadline_ms} | ({} if model is None else {"model": model})
        return await self._pool(pool_id, "reload", body)

    async def purge_pool(self, pool_id: str) -> PoolInfo:
        """End a pool's workers now and withdraw the wishes behind them."""
        return await self._pool(pool_id, "purge", None)

    async def _pool(self, pool_id: str, order: str, body: dict[str, Any] | None) -> PoolInfo:
        from rbee_agent.contracts.pools import PoolInfo

        path = f"/v2/pools/{segment(pool_id)}/{order}"
        return parsed(PoolInfo, await self.raw("POST", path, json=body))
