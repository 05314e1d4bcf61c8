"""The control plane's list of hosts that the queen reaches by SSH."""

from __future__ import annotations

from aiohttp import web

from rbee_agent.contracts.hosts import HostInfo, HostRegistration, QueenKey
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.routes import ADMIN, READ, Route, queen_of

MAX_BODY = 64 * 1024
REPORT_WAIT_S = 5.0
"""How long an answer waits for the hive's first report."""


async def add(request: web.Request) -> web.Response:
    """Know a host, connect to it, and take up its hive."""
    body = await read_json_object(request, max_bytes=MAX_BODY)
    registration = HostRegistration.model_validate(body)
    queen = queen_of(request)
    await queen.hosts.add(registration)
    await queen.links.settled(REPORT_WAIT_S, registration.node_id)
    return json_response(queen.hosts.info(registration.name).dump())


async def hosts(request: web.Request) -> web.Response:
    """Every host, with the state of its connection."""
    return json_response({"hosts": [host.dump() for host in queen_of(request).hosts.infos()]})


async def remove(request: web.Request) -> web.Response:
    """Forget a host; what runs there goes on."""
    await queen_of(request).hosts.remove(request.match_info["name"])
    return web.Response(status=204)


async def key(request: web.Request) -> web.Response:
    """The public half of the queen's own SSH key."""
    return json_response((await queen_of(request).hosts.key()).dump())


ROUTES = [
    Route(
        "POST",
        "/v2/hosts",
        add,
        ADMIN,
        "Know a host that is reached by SSH",
        body=HostRegistration,
        answer=HostInfo,
        errors=(400, 401, 403, 413, 415, 503),
    ),
    Route("GET", "/v2/hosts", hosts, READ, "Hosts reached by SSH", answer=HostInfo, many="hosts"),
    Route("GET", "/v2/hosts/key", key, ADMIN, "The queen's own SSH key", answer=QueenKey),
    Route(
        "DELETE",
        "/v2/hosts/{name}",
        remove,
        ADMIN,
        "Forget a host",
        status=204,
        errors=(401, 403, 404, 503),
    ),
]
