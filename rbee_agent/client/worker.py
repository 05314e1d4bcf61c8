"""A worker's API: for the hive's checks, tests, and people who debug one worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self

from rbee_agent.client.transport import DEFAULT_TIMEOUT_S, Peer, Transport
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    from rbee_agent.contracts.workers import ExecuteRequest, WorkerHealth


class WorkerClient:
    """One worker. An async context manager."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._transport = Transport(
            Peer("worker", url.rstrip("/"), "see `rbee worker ls`"), token, timeout=timeout
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def health(self, *, timeout: float = 5.0) -> WorkerHealth:
        """What the worker says of itself, also while it loads.

        Raises:
            Unreachable: nobody answers.
        """
        from rbee_agent.contracts.workers import WorkerHealth

        body = await self._transport.call("GET", "/health", timeout=timeout, accept=(503,))
        return WorkerHealth.read(body)

    async def execute(self, request: ExecuteRequest) -> AsyncGenerator[ServerEvent, None]:
        """The raw frames of one job, ids included. Nothing is resumed here: that is the queen's."""
        async with self._transport.events("/execute", method="POST", json=request) as events:
            async for event in events:
                yield event

    async def cancel(self, job_id: str) -> None:
        """Stop a job."""
        await self._transport.call("POST", "/cancel", json={"job_id": job_id})

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of a text."""
        body: Any = await self._transport.call("POST", "/tokenize", json={"text": text})
        return [int(token) for token in body["tokens"]]

    async def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids."""
        body: Any = await self._transport.call("POST", "/detokenize", json={"tokens": tokens})
        return str(body["text"])

    async def shutdown(self) -> None:
        """Ask the worker to end."""
        await self._transport.call("POST", "/shutdown", json={})
