"""Streams that outlive their connection: reconnect, say where we were, take nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from rbee_agent.client.transport import Params, StreamOver, Transport
from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.wire.sse import ServerEvent

RECONNECT_S = 30.0
"""How long a stream tries to come back before it gives up."""
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

Opening = AbstractAsyncContextManager[AsyncIterator[ServerEvent]]
OnBreak = Callable[[RbeeError], None]
"""Told of each break that the stream is about to mend."""


async def resumed(
    transport: Transport,
    path: str,
    *,
    params: Params | None = None,
    last_event_id: str | None = None,
    last_events: frozenset[str] = frozenset(),
    reconnect: float = RECONNECT_S,
    deadline: float | None = None,
    on_break: OnBreak | None = None,
    begin: Opening | None = None,
) -> AsyncGenerator[ServerEvent, None]:
    """The events of `path`, across broken connections and restarts of the peer.

    Args:
        transport: the peer.
        path: of the stream.
        params: query.
        last_event_id: go on behind this event.
        last_events: event names after which the stream is over; without any it is endless.
        reconnect: seconds that the peer may be away at a time.
        deadline: loop time at which the whole stream must have ended.
        on_break: told of each break.
        begin: opens the stream for the first time, with a patience of its own.

    Raises:
        Unreachable: the peer stayed away.
        RbeeError: the peer refused, or the deadline passed (DEADLINE_EXCEEDED).
    """
    loop = asyncio.get_running_loop()
    give_up: float | None = None
    wait = _FIRST_WAIT_S
    while True:
        begins = begin is not None
        opening = begin or transport.events(path, params=params, last_event_id=last_event_id)
        begin = None
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(deadline):
                    events = await stack.enter_async_context(opening)
                begins = False
                while (event := await _next(events, deadline)) is not None:
                    give_up, wait = None, _FIRST_WAIT_S
                    if event.id is not None:
                        if event.id == last_event_id:
                            continue
                        last_event_id = event.id
                    yield event
                    if event.event in last_events:
                        return
            broken: RbeeError = transport.peer.unreachable("it closed the stream")
        except StreamOver:
            return
        except TimeoutError:
            raise RbeeError("the stream did not end in time", code="DEADLINE_EXCEEDED") from None
        except RbeeError as error:
            away = isinstance(error, Unreachable) or (error.http_status == 503 and error.retriable)
            if begins or not away:
                raise
            broken = error
        now = loop.time()
        give_up = now + reconnect if give_up is None else give_up
        if now + wait > give_up:
            raise broken
        if on_break is not None:
            on_break(broken)
        await asyncio.sleep(wait)
        wait = min(_LONGEST_WAIT_S, wait * 2)


async def _next(events: AsyncIterator[ServerEvent], deadline: float | None) -> ServerEvent | None:
    """The next event, or None at the end. The deadline never runs while the caller has the turn."""
    async with asyncio.timeout_at(deadline):
        return await anext(events, None)
