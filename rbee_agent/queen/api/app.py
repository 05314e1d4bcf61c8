"""The queen's aiohttp application: made from the table of routes, with the shared middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import cache

from aiohttp import web

from rbee_agent.errors import Unavailable
from rbee_agent.http.capacity import at_most
from rbee_agent.http.errors import json_response
from rbee_agent.http.middleware import ERROR_SHAPE, bearer, correlate, refuse_web_pages
from rbee_agent.queen.api import fleet, hosts, meta, models, policy, pools, tasks
from rbee_agent.queen.api.anthropic import routes as anthropic
from rbee_agent.queen.api.dialects import in_its_shape, refusal_of
from rbee_agent.queen.api.llamacpp import routes as llamacpp
from rbee_agent.queen.api.ollama import routes as ollama
from rbee_agent.queen.api.openai import routes as openai
from rbee_agent.queen.api.openapi import document
from rbee_agent.queen.api.routes import PUBLIC, QUEEN, Handler, Route, queen_of, set_who
from rbee_agent.queen.service import Queen
from rbee_agent.wire.versions import check_peer


@cache
def all_routes() -> tuple[Route, ...]:
    """Every route of the queen; describing them all is most of the work of starting one."""
    rooms = (tasks, fleet, pools, hosts, models, policy, meta, openai, anthropic, ollama, llamacpp)
    routes = [route for room in rooms for route in room.ROUTES]
    described = document([*routes, _openapi_route(_never)])

    async def openapi(_: web.Request) -> web.StreamResponse:
        return json_response(described)

    return (*routes, _openapi_route(openapi))


def make_app(
    queen: Queen, *, allowed_hosts: Collection[str] = (), most: int = 100_000
) -> web.Application:
    """The application of one queen.

    Args:
        queen: who does the work.
        allowed_hosts: names beside loopback that requests may be addressed to.
        most: requests and streams that she holds open at a time.
    """
    app = web.Application(
        middlewares=[
            correlate,
            at_most(most),
            refuse_web_pages(allowed_hosts=allowed_hosts),
            peer_version,
        ],
        client_max_size=tasks.MAX_BODY,
    )
    app[QUEEN] = queen
    app[ERROR_SHAPE] = in_its_shape
    for route in all_routes():
        app.router.add_route(route.method, route.path, guarded(route))
    return app


def guarded(route: Route) -> Handler:
    """A route's handler behind its access check."""
    if route.roles is PUBLIC:
        return route.handler
    roles, handler = route.roles, route.handler
    # Libraries of other APIs always send a key, be it a made-up one.
    placeholder = refusal_of(route.path) is not None

    async def check(request: web.Request) -> web.StreamResponse:
        queen = queen_of(request)
        token = bearer(request)
        if token is None and placeholder:
            # Anthropic's clients send their key so.
            token = request.headers.get("X-Api-Key")
        who = queen.links.hive_with(token) if route.by_hives and token is not None else None
        set_who(
            request,
            who
            or queen.access.authorize(token, roles, placeholder=placeholder, secure=request.secure),
        )
        if not queen.ready:
            raise Unavailable("the queen is starting", retry_after_ms=200)
        return await handler(request)

    return check


@web.middleware
async def peer_version(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse an agent or keeper of another protocol, with the command that mends it."""
    check_peer(request.headers, peer="caller", mend="rbee queen update")
    return await handler(request)


def _openapi_route(handler: Handler) -> Route:
    summary = "This API as OpenAPI 3.1"
    return Route("GET", "/openapi.json", handler, PUBLIC, summary, answer=dict, errors=())


async def _never(_: web.Request) -> web.StreamResponse:
    raise NotImplementedError("only described, never served")
