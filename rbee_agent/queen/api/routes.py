"""The table of routes: what a route is called, who may use it, what goes in and what comes out.

The application and ``/openapi.json`` are both made from it, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rbee_agent.contracts.keys import Role
from rbee_agent.security.keys import Identity

if TYPE_CHECKING:
    from rbee_agent.queen.service import Queen

QUEEN: web.AppKey[Queen] = web.AppKey("queen")
_WHO = web.RequestKey("who", Identity)
_ARRIVED = web.RequestKey("arrived", float)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ADMIN = frozenset({Role.ADMIN})
SUBMIT = frozenset({Role.SUBMIT})
READ = frozenset({Role.READ, Role.SUBMIT})
NODE = frozenset({Role.NODE})
PUBLIC: None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One route."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] | None
    """Any one of them is enough; None: no token is asked."""
    summary: str
    body: type[Any] | None = None
    answer: type[Any] | None = None
    """None: no body, or not JSON."""
    many: str | None = None
    """The answer is an object that holds a list of `answer` under this name."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Further good answers."""
    query: dict[str, str] = field(default_factory=dict)
    """Query parameters and their JSON Schema types."""
    stream: bool = False
    or_stream: bool = False
    """Events instead of `answer`, where the caller accepts those."""
    by_hives: bool = False
    """A hive that is known may use it with its own token, for itself."""
    errors: tuple[int, ...] = (400, 401, 403, 503)


def queen_of(request: web.Request) -> Queen:
    """The queen that serves a request."""
    return request.app[QUEEN]


def who_of(request: web.Request) -> Identity:
    """Who sends a request; set by the access check."""
    return request[_WHO]


def arrived_of(request: web.Request) -> float:
    """When a request came; monotonic."""
    return request[_ARRIVED]


def set_who(request: web.Request, who: Identity) -> None:
    """Note who sends a request, and that it came just now."""
    request[_WHO] = who
    request[_ARRIVED] = queen_of(request).clock.monotonic()
