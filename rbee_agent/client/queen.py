"""The queen's API, typed. Everything that rbee's own commands and control center do goes here.

The calls stand in groups by what they are about: `work`, `fleet`, `catalog`, `rules`; here they
become one client, with what the queen tells of herself and of everything that changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from rbee_agent.client.calls import parsed
from rbee_agent.client.catalog import CatalogCalls
from rbee_agent.client.fleet import FleetCalls
from rbee_agent.client.locate import Address
from rbee_agent.client.resume import RECONNECT_S, resumed
from rbee_agent.client.rules import RuleCalls
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S, Peer, Transport
from rbee_agent.client.work import WorkCalls
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    import httpx

    from rbee_agent.client.frames import FleetEvent
    from rbee_agent.contracts.events import FleetSnapshot, TapChunk
    from rbee_agent.contracts.meta import Capabilities, QueenHealth, QueenVersion

START_HINT = "start one with `rbee up`, or name another with --queen or RBEE_QUEEN_URL"


class QueenClient(WorkCalls, FleetCalls, CatalogCalls, RuleCalls):
    """One queen. An async context manager; one client serves any number of calls at once.

    Every method raises :class:`~rbee_agent.errors.RbeeError`: `Unreachable` where nobody answers,
    else the class of the code that the queen refused with.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = 2,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare to call the queen at `url`.

        Args:
            url: such as ``http://127.0.0.1:8080``.
            token: an API key; a queen on loopback may ask for none.
            timeout: seconds that one call may take with all its retries (streams have their own).
            retries: further tries after an answer that says "later"; Retry-After is honoured.
            http: a client to use instead of an own one.
        """
        self.url = url.rstrip("/")
        self._transport = Transport(
            Peer("queen", self.url, START_HINT),
            token,
            timeout=timeout,
            retries=retries,
            http=http,
        )

    @classmethod
    def at(cls, address: Address, *, timeout: float = DEFAULT_TIMEOUT_S) -> Self:
        """The client for an address that `find_queen` found."""
        return cls(address.url, address.token, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def health(self, *, timeout: float = 5.0) -> QueenHealth:
        """Whether the queen is well, and how much she has to do."""
        from rbee_agent.contracts.meta import QueenHealth

        return parsed(QueenHealth, await self.raw("GET", "/health", timeout=timeout))

    async def version(self) -> QueenVersion:
        """The queen's version and protocol."""
        from rbee_agent.contracts.meta import QueenVersion

        return parsed(QueenVersion, await self.raw("GET", "/v2/meta/version"))

    async def capabilities(self) -> Capabilities:
        """What the queen can do."""
        from rbee_agent.contracts.meta import Capabilities

        return parsed(Capabilities, await self.raw("GET", "/v2/meta/capabilities"))

    def events(
        self, last_event_id: str | None = None, *, reconnect: float = RECONNECT_S
    ) -> AsyncGenerator[ServerEvent, None]:
        """The fleet's event feed: a snapshot, then every change; resumes by itself, never ends."""
        return resumed(
            self._transport, "/v2/events", last_event_id=last_event_id, reconnect=reconnect
        )

    async def snapshot(self) -> FleetSnapshot:
        """The whole fleet as it is now: what the event feed begins with."""
        from rbee_agent.contracts.events import FleetSnapshot

        async with aclosing(self.events(reconnect=0.0)) as events:
            async for event in events:
                return FleetSnapshot.read_json(event.data)
        raise self._transport.peer.unreachable("it said nothing of its fleet")

    async def changes(self, last_event_id: str | None = None) -> AsyncGenerator[FleetEvent, None]:
        """The fleet's event feed as types: a snapshot, then every change; never ends."""
        from rbee_agent.client.frames import parse_fleet_event

        async with aclosing(self.events(last_event_id)) as events:
            async for event in events:
                if (parsed := parse_fleet_event(event)) is not None:
                    yield parsed

    def tap(self, *, reconnect: float = RECONNECT_S) -> AsyncGenerator[ServerEvent, None]:
        """What all running streams say, coalesced and lossy: for watchers. Never ends."""
        return resumed(self._transport, "/v2/streams/tap", reconnect=reconnect)

    async def watch(self) -> AsyncGenerator[TapChunk, None]:
        """The tap as types; never ends."""
        from rbee_agent.contracts.events import TapChunk

        async with aclosing(self.tap()) as events:
            async for event in events:
                yield TapChunk.read_json(event.data)
