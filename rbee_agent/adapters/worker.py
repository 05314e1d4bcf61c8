"""Our own worker: its frames are passed on as they are, because they already are ours."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rbee_agent.adapters.base import ModelWords, Resume, Target, Token
from rbee_agent.contracts.workers import ExecuteRequest, TemplateRequest, WorkerHealth
from rbee_agent.errors import Unreachable, from_body
from rbee_agent.http.peers import pinned, why
from rbee_agent.wire.sse import ServerEvent, SseDecoder
from rbee_agent.wire.versions import version_headers

CONNECT_TIMEOUT_S = 2.0
TLS_CONNECT_TIMEOUT_S = 5.0
"""Three times there and back, and a packet may be lost."""
CANCEL_TIMEOUT_S = 2.0
CALL_TIMEOUT_S = 30.0
"""A megabyte of text takes a second to tokenise."""
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
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_patience(target)),
                ssl=pinned(target.certificate),
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
                ssl=pinned(target.certificate),
            ) as response:
                return WorkerHealth.read(await response.json())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"the worker does not answer: {why(error)}") from error

    async def models(self, target: Target, *, timeout: float) -> list[str]:
        """A worker of ours has one."""
        return [(await self.health(target, timeout=timeout)).model]

    async def cancel(self, target: Target, job_id: str) -> None:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        try:
            async with self._session.post(
                f"{target.url}/cancel",
                json={"job_id": job_id},
                headers=self._auth(target),
                timeout=aiohttp.ClientTimeout(total=CANCEL_TIMEOUT_S),
                ssl=pinned(target.certificate),
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the worker does not answer: {why(error)}") from error

    async def tokenize(
        self, target: Target, text: str, *, add_special: bool, parse_special: bool
    ) -> list[Token]:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        body = {"text": text, "add_special": add_special, "parse_special": parse_special}
        said = await self._call(target, "POST", "/tokenize", body)
        pieces = [base64.b64decode(piece) for piece in said["pieces"]]
        return [Token(*pair) for pair in zip(said["tokens"], pieces, strict=True)]

    async def detokenize(self, target: Target, tokens: list[int]) -> str:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        return str((await self._call(target, "POST", "/detokenize", {"tokens": tokens}))["text"])

    async def apply_template(self, target: Target, asked: TemplateRequest) -> str:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        said = await self._call(target, "POST", "/apply-template", asked.dump())
        return str(said["prompt"])

    async def words(self, target: Target) -> ModelWords:
        """See :class:`rbee_agent.adapters.base.Adapter`."""
        return ModelWords(**await self._call(target, "GET", "/words"))

    async def _call(self, target: Target, method: str, path: str, body: Any = None) -> Any:
        try:
            async with self._session.request(
                method,
                target.url + path,
                json=body,
                headers=self._auth(target),
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
                ssl=pinned(target.certificate),
            ) as response:
                said = await _json(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the worker does not answer: {why(error)}") from error
        if response.status != 200:
            raise from_body(said, response.status)
        return said

    def _auth(self, target: Target) -> dict[str, str]:
        if target.token is None:
            return self._headers
        return self._headers | {"Authorization": f"Bearer {target.token.reveal()}"}


def _patience(target: Target) -> float:
    return CONNECT_TIMEOUT_S if target.certificate is None else TLS_CONNECT_TIMEOUT_S


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
