"""One peer over HTTP: requests with retries and one deadline, streams as decoded events.

Every failure leaves here as an :class:`~rbee_agent.errors.RbeeError`: what the peer refused as
the class of its code, a peer that does not answer as `Unreachable` with what to do about it.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from rbee_agent.client.lean_httpx import httpx
from rbee_agent.contracts.routes import BACKOFF_HEADER, SSE_CONTENT_TYPE
from rbee_agent.errors import RbeeError, Unreachable, from_body
from rbee_agent.wire.sse import ServerEvent, SseDecoder
from rbee_agent.wire.versions import check_peer, version_headers

DEFAULT_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 45.0
"""A stream that does not even ping (every 15 s) for so long is broken."""

NO_CONTENT = 204
_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout)

T = TypeVar("T")
Params = Mapping[str, str | int | float | bool | None]


class StreamOver(Exception):
    """The peer says (204) that the stream has ended before."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called, and what a person does when nobody answers."""

    name: str
    url: str
    start_hint: str
    mend: str = "rbee hive update --all"

    def unreachable(self, why: str) -> Unreachable:
        """The error for a peer that does not answer."""
        return Unreachable(f"no {self.name} answers at {self.url} ({why}); {self.start_hint}")


class Transport:
    """An HTTP connection pool to one peer; an async context manager."""

    def __init__(
        self,
        peer: Peer,
        token: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = 2,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare to call `peer`.

        Args:
            peer: address and words for errors.
            token: bearer token, if the peer wants one.
            timeout: seconds that one call may take with all its retries.
            retries: further tries after an answer that says "later" (429, 503).
            http: a client to use instead of an own one; it is not closed here.
        """
        self.peer = peer
        self._timeout = timeout
        self._retries = retries
        self._own = http is None
        headers = {"Accept": "application/json", **version_headers()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._headers = headers
        # No TLS context is made for plain HTTP (25 ms); loopback never goes through a proxy.
        plain = peer.url.startswith("http://")
        self._http = http or httpx.AsyncClient(
            verify=not plain, trust_env=not plain, limits=httpx.Limits(max_connections=None)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Params | None = None,
        timeout: float | None = None,
        reconnect: bool = False,
        accept: tuple[int, ...] = (),
    ) -> Any:
        """One request; returns the decoded JSON, or None for an empty answer.

        Args:
            method: HTTP method.
            path: with its leading slash.
            json: body.
            params: query; None values are left out.
            timeout: seconds for the whole call, retries and waits included.
            reconnect: also try again when the connection breaks (not when nobody is there to
                begin with). Only for requests that do no harm twice.
            accept: error statuses whose body is an answer all the same.

        Raises:
            Unreachable: nobody answered.
            RbeeError: the peer refused, or the deadline passed (DEADLINE_EXCEEDED).
        """

        async def once() -> Any:
            response = await self._send(method, path, json, params)
            return response.json() if response.status_code in accept else _answer(response)

        return await self._patiently(once, timeout=timeout, reconnect=reconnect)

    async def _patiently(
        self, once: Callable[[], Awaitable[T]], *, timeout: float | None, reconnect: bool
    ) -> T:
        """Try until it goes well, is refused for good, or the time is over; see `call`."""
        budget = self._timeout if timeout is None else timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        tries = 0
        while True:
            tries += 1
            try:
                async with asyncio.timeout_at(deadline):
                    return await once()
            except TimeoutError:
                raise RbeeError(
                    f"the {self.peer.name} at {self.peer.url} did not answer within {budget:g} s",
                    code="DEADLINE_EXCEEDED",
                ) from None
            except Unreachable as error:
                wait = min(2.0, 0.1 * 2**tries)
                never_there = tries == 1 and isinstance(error.__cause__, _NO_CONNECTION)
                if not reconnect or never_there or loop.time() + wait >= deadline:
                    raise
            except RbeeError as error:
                wait = _wait_of(error)
                refused_for_now = error.http_status in (429, 503) and error.retriable
                if not refused_for_now or tries > self._retries or loop.time() + wait >= deadline:
                    raise
            await asyncio.sleep(wait)

    async def _send(
        self, method: str, path: str, json: Any, params: Params | None
    ) -> httpx.Response:
        try:
            response = await self._http.request(
                method,
                self.peer.url + path,
                content=None if json is None else encode_body(json),
                params=_present(params),
                headers=self._headers | _content_type(json),
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            )
        except httpx.TransportError as error:
            raise self.peer.unreachable(_why(error)) from error
        self._check_version(response)
        return response

    def _check_version(self, response: httpx.Response) -> None:
        if response.status_code != 426:
            check_peer(response.headers, peer=self.peer.name, mend=self.peer.mend)

    @asynccontextmanager
    async def events(
        self,
        path: str,
        *,
        params: Params | None = None,
        last_event_id: str | None = None,
        method: str = "GET",
        json: Any = None,
        silence: float = SILENCE_TIMEOUT_S,
    ) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Open one event stream; inside the block, iterate over its events.

        Args:
            path: with its leading slash.
            params: query; None values are left out.
            last_event_id: go on behind this event.
            method: HTTP method.
            json: body.
            silence: seconds without a byte (not even a ping) after which it counts as broken.

        Raises:
            Unreachable: nobody answered, or the connection broke in the middle.
            StreamOver: there is nothing behind `last_event_id` and never will be.
            RbeeError: the peer refused.
        """
        headers = self._headers | {"Accept": SSE_CONTENT_TYPE} | _content_type(json)
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        try:
            async with self._http.stream(
                method,
                self.peer.url + path,
                content=None if json is None else encode_body(json),
                params=_present(params),
                headers=headers,
                timeout=httpx.Timeout(silence, connect=CONNECT_TIMEOUT_S),
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _answer(response)
                if response.status_code == NO_CONTENT:
                    raise StreamOver
                self._check_version(response)
                if not response.headers.get("Content-Type", "").startswith(SSE_CONTENT_TYPE):
                    raise RbeeError(
                        f"{self.peer.url} answers, but not with events: another program, or an "
                        f"older rbee, listens there; {self.peer.mend}"
                    )
                async with aclosing(_decode(response)) as decoded:
                    yield decoded
        except httpx.TransportError as error:
            raise self.peer.unreachable(_why(error)) from error

    @asynccontextmanager
    async def begun(
        self, path: str, *, json: Any, params: Params | None = None, timeout: float | None = None
    ) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """POST what does no harm twice and read its events; until the first of them it is a `call`.

        Args:
            path: with its leading slash.
            json: body.
            params: query; None values are left out.
            timeout: seconds until the first event, retries and waits included.

        Raises:
            RbeeError: as `call` with `reconnect`, then as `events`.
        """

        async def once() -> tuple[AsyncExitStack, AsyncIterator[ServerEvent]]:
            async with AsyncExitStack() as stack:
                opening = self.events(path, method="POST", json=json, params=params)
                events = await stack.enter_async_context(opening)
                first = await anext(events, None)
                if first is None:
                    raise self.peer.unreachable("it closed the stream")
                return stack.pop_all(), _from_first(first, events)

        stack, events = await self._patiently(once, timeout=timeout, reconnect=True)
        async with stack:
            yield events


async def _from_first(
    first: ServerEvent, rest: AsyncIterator[ServerEvent]
) -> AsyncGenerator[ServerEvent, None]:
    yield first
    async for event in rest:
        yield event


async def _decode(response: httpx.Response) -> AsyncGenerator[ServerEvent, None]:
    decoder = SseDecoder()
    async for chunk in response.aiter_bytes():
        try:
            events = decoder.feed(chunk)
        except ValueError as error:
            raise RbeeError(f"the stream cannot be read: {error}") from error
        for event in events:
            yield event


def encode_body(value: Any) -> bytes:
    """JSON bytes of a contract type (unset fields left out) or of a plain value."""
    dump = getattr(value, "model_dump_json", None)
    if dump is not None:
        text: str = dump(exclude_unset=True)
        return text.encode()
    return jsonlib.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _content_type(json: Any) -> dict[str, str]:
    return {} if json is None else {"Content-Type": "application/json"}


def _present(params: Params | None) -> dict[str, str]:
    given = {key: value for key, value in (params or {}).items() if value is not None}
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in given.items()
    }


def _answer(response: httpx.Response) -> Any:
    """The JSON of a good answer; a bad one as its error."""
    body: Any = None
    if response.content:
        try:
            body = response.json()
        except ValueError:
            if response.status_code < 400:
                raise RbeeError(
                    f"{response.url.host}:{response.url.port} answers, but not with JSON: "
                    "another program listens there"
                ) from None
    if response.status_code < 400:
        return body
    error = from_body(body, response.status_code)
    if error.retry_after_ms is None:
        error.retry_after_ms = _retry_after_ms(response.headers)
    raise error


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    exact = headers.get(BACKOFF_HEADER, "")
    if exact.isdigit():
        return int(exact)
    whole = headers.get("Retry-After", "")
    return int(whole) * 1000 if whole.isdigit() else None


def _wait_of(error: RbeeError) -> float:
    """Seconds until the peer wants to be asked again."""
    return (1000 if error.retry_after_ms is None else error.retry_after_ms) / 1000


def _why(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, httpx.ConnectError):
        return (
            "connection refused"
            if "refused" in str(error) or "All conn" in str(error)
            else (str(error) or "no connection")
        )
    if isinstance(error, httpx.TimeoutException):
        return "it went silent"
    return str(error) or type(error).__name__
