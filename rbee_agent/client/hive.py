"""A hive's API: for the keeper on this host, and for tests. The queen has her own link."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from rbee_agent.client.resume import RECONNECT_S, resumed
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S, Peer, Transport
from rbee_agent.errors import from_body
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    from rbee_agent.contracts.devices import Device
    from rbee_agent.contracts.models import CatalogModel, ModelFile, PullProgress
    from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo


class HiveClient:
    """One hive. An async context manager."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._transport = Transport(
            Peer("hive", url.rstrip("/"), "start it with `rbee up`"), token, timeout=timeout
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def health(self, *, timeout: float = 5.0) -> dict[str, Any]:
        """``GET /health``."""
        body: dict[str, Any] = await self._transport.call("GET", "/health", timeout=timeout)
        return body

    async def capabilities(self) -> dict[str, Any]:
        """``GET /v1/capabilities``."""
        body: dict[str, Any] = await self._transport.call("GET", "/v1/capabilities")
        return body

    async def devices(self) -> list[Device]:
        """The CPU and the GPUs."""
        from rbee_agent.contracts.devices import Device

        return [Device.read(item) for item in await self._list("/v1/devices", "devices")]

    async def models(self) -> list[ModelFile]:
        """The model files on this host."""
        from rbee_agent.contracts.models import ModelFile

        return [ModelFile.read(item) for item in await self._list("/v1/models", "models")]

    async def pull(self, model: CatalogModel) -> AsyncGenerator[PullProgress, None]:
        """Have a model on the host; the last news has its file.

        Raises:
            RbeeError: no source had it, or the stream broke off.
        """
        from rbee_agent.contracts.models import PullProgress

        async with self._transport.events(
            "/v1/models", method="POST", json={"model": model.dump()}
        ) as events:
            async for event in events:
                if event.event == "error":
                    raise from_body({"error": json.loads(event.data)})
                news = PullProgress.read_json(event.data)
                yield news
                if event.event == "done":
                    return
        raise self._transport.peer.unreachable("it closed the stream")

    async def remove_model(self, model_id: str) -> None:
        """Take a model off the host; its bytes go where rbee brought them."""
        path = f"/v1/models/{quote(model_id, safe='')}"
        await self._transport.call("DELETE", path, timeout=60.0)

    async def workers(self) -> list[WorkerInfo]:
        """The worker processes."""
        from rbee_agent.contracts.workers import WorkerInfo

        return [WorkerInfo.read(item) for item in await self._list("/v1/workers", "workers")]

    async def spawn(self, request: SpawnRequest, *, timeout: float | None = None) -> WorkerInfo:
        """Start a worker; it loads when this returns."""
        from rbee_agent.contracts.workers import WorkerInfo

        body = await self._transport.call("POST", "/v1/workers", json=request, timeout=timeout)
        return WorkerInfo.read(body)

    async def stop_worker(self, worker_id: str, *, timeout: float | None = None) -> None:
        """Stop a worker and wait until its memory is back."""
        path = f"/v1/workers/{quote(worker_id, safe='')}"
        await self._transport.call("DELETE", path, timeout=timeout)

    async def worker_logs(self, worker_id: str) -> list[str]:
        """A worker's last log lines."""
        path = f"/v1/workers/{quote(worker_id, safe='')}/logs"
        body = await self._transport.call("GET", path)
        lines = body.get("lines", []) if isinstance(body, dict) else str(body or "").splitlines()
        return [str(line) for line in lines]

    def events(
        self, last_event_id: str | None = None, *, reconnect: float = RECONNECT_S
    ) -> AsyncGenerator[ServerEvent, None]:
        """A snapshot, telemetry each second, every change; never ends."""
        return resumed(
            self._transport, "/v1/events", last_event_id=last_event_id, reconnect=reconnect
        )

    async def _list(self, path: str, key: str) -> list[Any]:
        body = await self._transport.call("GET", path)
        found = body.get(key, []) if isinstance(body, dict) else body
        return found if isinstance(found, list) else []
