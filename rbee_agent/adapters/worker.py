"""Our own worker: its frames are passed on as they are, because they already are ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from rbee_agent.adapters.base import Resume, Target, why
from rbee_agent.contracts.workers import ExecuteRequest, WorkerHealth
from rbee_agent.errors import Unreachable, from_body
from rbee_agent.wire.sse import ServerEvent, SseDecoder
from rbee_agent.wire.versions import version_headers

CONNECT_TIMEOUT_S = 2.0
CANCEL_TIMEOUT_S = 2.0
FINISH_S = 0.02
_TOKEN = b"event: token\ndata: "
_TOKEN_TEXT = _TOKEN.decode()


class WorkerAdapter:
    """Speaks to ``llm-worker-rbee`` over one shared session."""

    kind = "rbee"
    resume: Resume = "ids"

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._headers = version_headers()

    @asynccontextmanager
    async def execute(
        self, target: Target, request: ExecuteRequest
    ) -> AsyncGenerator[AsyncIterator[list[ServerEvent]], None]:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        try:
            response = await self._session.post(
                f"{target.url}/execute",
                data=request.model_dump_json(exclude_none=True).encode(),
                headers=self._auth(target) | {"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the worker cannot be reached: {why(error)}") from error
        try:
            if response.status != 200:
                raise from_body(await _json(response), response.status)
            yield _events(response)
            await _finish(response)
        finally:
            # Closing the connection is what ends the job on the worker.
            response.close()

    async def health(self, target: Target, *, timeout: float) -> WorkerHealth:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        try:
            async with self._session.get(
                f"{target.url}/health",
                headers=self._auth(target),
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                return WorkerHealth.read(await response.json())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"the worker does not answer: {why(error)}") from error

    async def cancel(self, target: Target, job_id: str) -> None:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        try:
            async with self._session.post(
                f"{target.url}/cancel",
                json={"job_id": job_id},
                headers=self._auth(target),
                timeout=aiohttp.ClientTimeout(total=CANCEL_TIMEOUT_S),
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the worker does not answer: {why(error)}") from error

    def _auth(self, target: Target) -> dict[str, str]:
        if target.token is None:
            return self._headers
        return self._headers | {"Authorization": f"Bearer {target.token.reveal()}"}


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[list[ServerEvent]]:
    decoder, whole = SseDecoder(), True
    try:
        async for chunk in response.content.iter_any():
            events = tokens_at_once(chunk) if whole else None
            if events is None:
                # An empty batch is a sign of life too: bytes came.
                events = decoder.feed(chunk)
                whole = chunk.endswith(b"\n\n")
            yield events
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"the worker's stream broke: {why(error)}") from error


def tokens_at_once(chunk: bytes) -> list[ServerEvent] | None:
    """Whole token events as our workers write them; None where the decoder must look at it.

    Most chunks are one such event, and this costs a fifth of decoding it.
    """
    if not (chunk.startswith(_TOKEN) and chunk.endswith(b"\n\n")) or b"\r" in chunk:
        return None
    parts = chunk.decode(errors="replace").split("\n\n")
    parts.pop()
    events = []
    for part in parts:
        data = part[len(_TOKEN) :]
        if not part.startswith(_TOKEN_TEXT) or "\n" in data:
            return None
        events.append(ServerEvent("token", data))
    return events


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read the end of the body behind the last frame, so that the connection can be used again."""
    try:
        async with asyncio.timeout(FINISH_S):
            await response.content.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return


async def _json(response: aiohttp.ClientResponse) -> object:
    try:
        return json.loads(await response.read())
    except (ValueError, aiohttp.ClientError):
        return None
