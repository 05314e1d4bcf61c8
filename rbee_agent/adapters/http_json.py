"""What the adapters of foreign engines share: JSON calls and event streams over one session."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rbee_agent.adapters.base import Target
from rbee_agent.contracts.tasks import ThinkingWish
from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.http.peers import why
from rbee_agent.wire.sse import ServerEvent, SseDecoder

CONNECT_TIMEOUT_S = 2.0
CALL_TIMEOUT_S = 10.0

_CODES = {400: "INVALID_PARAMS", 401: "BAD_TOKEN", 404: "NOT_FOUND", 413: "PAYLOAD_TOO_LARGE"}


class JsonEngine:
    """Calls to one foreign engine's HTTP API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self,
        target: Target,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float = CALL_TIMEOUT_S,
    ) -> Any:
        """One call; the decoded answer.

        Raises:
            RbeeError: the engine refused.
            Unreachable: nobody answers in time, or not with JSON.
        """
        try:
            async with self._session.request(
                method,
                target.url + path,
                json=body,
                headers=_auth(target),
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                raw = await response.read()
                if response.status >= 400:
                    raise refusal(response.status, raw)
                return json.loads(raw)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"the engine does not answer: {why(error)}") from error

    @asynccontextmanager
    async def stream(
        self, target: Target, path: str, body: Any
    ) -> AsyncGenerator[AsyncIterator[list[ServerEvent]], None]:
        """A POST whose answer is an event stream, in batches; leaving it closes the connection.

        Raises:
            RbeeError: the engine refused.
            Unreachable: the connection could not be made, or broke.
        """
        try:
            response = await self._session.post(
                target.url + path,
                json=body,
                headers=_auth(target),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the engine cannot be reached: {why(error)}") from error
        try:
            if response.status != 200:
                raise refusal(response.status, await response.read())
            yield _events(response)
        finally:
            response.close()


def template_variables(wish: ThinkingWish, given: dict[str, Any] | None) -> dict[str, Any]:
    """What is wished of the chat template, in the words that such engines have for it."""
    told: dict[str, Any] = dict(given or {})
    if wish.thinking is not None:
        told.setdefault("enable_thinking", wish.thinking)
    body: dict[str, Any] = {"chat_template_kwargs": told} if told else {}
    if wish.reasoning_effort is not None:
        body["reasoning_effort"] = wish.reasoning_effort
    return body


def refusal(status: int, raw: bytes) -> RbeeError:
    """A foreign engine's refusal as an error of ours; its words, shortened."""
    message = ""
    try:
        body = json.loads(raw)
        error = body.get("error") if isinstance(body, dict) else None
        message = str(error.get("message", "") if isinstance(error, dict) else error or "")
    except ValueError:
        message = raw[:200].decode(errors="replace")
    low = message.lower()
    code = _CODES.get(status, "POOL_UNREADY" if status in (429, 503) else "INTERNAL")
    if "context" in low and ("exceed" in low or "length" in low or "larger" in low):
        code = "CONTEXT_LENGTH_EXCEEDED"
    return RbeeError(f"the engine refused ({status}): {message[:300] or 'no reason'}", code=code)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[list[ServerEvent]]:
    decoder = SseDecoder()
    try:
        async for chunk in response.content.iter_any():
            yield decoder.feed(chunk)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"the engine's stream broke: {why(error)}") from error


def _auth(target: Target) -> dict[str, str]:
    return {} if target.token is None else {"Authorization": f"Bearer {target.token.reveal()}"}
