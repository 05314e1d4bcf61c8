"""Routes about the queen herself: health, version, capabilities, metrics, keys, OpenAPI."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from rbee_agent import __version__
from rbee_agent.contracts.base import OLDEST_PROTOCOL, PROTOCOL_VERSION, Contract
from rbee_agent.contracts.keys import KeyInfo, NewKey, Role
from rbee_agent.contracts.meta import Capabilities, QueenHealth, QueenVersion
from rbee_agent.contracts.tasks import MAX_STOP
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.routes import ADMIN, PUBLIC, READ, Route, queen_of
from rbee_agent.queen.placement import STRATEGIES
from rbee_agent.security.keys import key_document


class KeyRequest(Contract):
    """A key to make."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]*$")
    roles: list[Role] = Field(min_length=1)


async def home(_: web.Request) -> web.Response:
    """For whoever looks by hand, and for `ollama`, which asks here whether anybody is there."""
    return web.Response(
        text=f"The queen of rbee {__version__} is running; /openapi.json says what she answers.\n"
    )


async def health(request: web.Request) -> web.Response:
    """How the queen fares."""
    queen = queen_of(request)
    return json_response(
        {
            "status": "ok" if queen.ready else "starting",
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "uptime_s": round(queen.clock.utc() - queen.started_at, 3),
            "queue_depth": queen.tasks.queue.depth,
            "running": queen.tasks.queue.running,
            "nodes": len(queen.registry.nodes),
            "workers": len(queen.registry.workers),
        }
    )


async def live(_: web.Request) -> web.Response:
    """The process answers."""
    return json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """Whether tasks can be handed in: 503 until what was left over is recovered."""
    is_ready = queen_of(request).ready
    return json_response({"ready": is_ready}, status=200 if is_ready else 503)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    return web.Response(
        body=queen_of(request).metrics.text(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def version(_: web.Request) -> web.Response:
    """Versions of program and protocol."""
    return json_response(
        {
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "oldest_protocol": OLDEST_PROTOCOL,
            "api": "v2",
        }
    )


async def capabilities(request: web.Request) -> web.Response:
    """What this queen can do."""
    queen = queen_of(request)
    backends = {b for node in queen.registry.nodes.values() for b in node.info.backends}
    return json_response(
        {
            "version": __version__,
            "workloads": ["completion", "chat", "embedding", "rerank"],
            "priorities": ["interactive", "batch"],
            "response_formats": ["text", "json_object", "json_schema"],
            "determinism": ["strict", "best_effort"],
            "strategies": sorted(STRATEGIES),
            "strategy": queen.dispatcher.strategy,
            "backends": sorted(backends),
            "max_stop": MAX_STOP,
            "queue_limit": queen.settings.queue_limit,
            "queue_policy": queen.settings.queue_policy,
            "resume": True,
            "features": ["explain", "sessions", "load_on_demand", "events", "tap"],
        }
    )


async def keys(request: web.Request) -> web.Response:
    """Every key, without its secret."""
    return json_response({"keys": [key.dump() for key in queen_of(request).keys.list()]})


async def create_key(request: web.Request) -> web.Response:
    """Make a key; the answer holds its secret, once."""
    wanted = KeyRequest.model_validate(await read_json_object(request, max_bytes=10_000))
    info, secret = await queen_of(request).keys.create(wanted.name, wanted.roles)
    return json_response(key_document(info, secret), status=201)


async def revoke_key(request: web.Request) -> web.Response:
    """Revoke a key at once."""
    await queen_of(request).keys.revoke(request.match_info["id"])
    return web.Response(status=204)


ROUTES = [
    Route("GET", "/", home, PUBLIC, "That the queen is here", errors=()),
    Route("HEAD", "/", home, PUBLIC, "That the queen is here", errors=()),
    Route("GET", "/health", health, PUBLIC, "How the queen fares", answer=QueenHealth, errors=()),
    Route("GET", "/livez", live, PUBLIC, "The process answers", answer=dict, errors=()),
    Route("GET", "/readyz", ready, PUBLIC, "Tasks can be handed in", answer=dict, errors=(503,)),
    Route("GET", "/metrics", metrics, READ, "Prometheus text", errors=(401, 403)),
    Route("GET", "/v2/meta/version", version, PUBLIC, "Versions", answer=QueenVersion, errors=()),
    Route(
        "GET",
        "/v2/meta/capabilities",
        capabilities,
        READ,
        "What this queen can do",
        answer=Capabilities,
        errors=(401, 403),
    ),
    Route("GET", "/v2/keys", keys, ADMIN, "Every key", answer=KeyInfo, many="keys"),
    Route(
        "POST",
        "/v2/keys",
        create_key,
        ADMIN,
        "Make a key",
        body=KeyRequest,
        answer=NewKey,
        status=201,
        errors=(400, 401, 403, 409, 413, 415, 503),
    ),
    Route(
        "DELETE",
        "/v2/keys/{id}",
        revoke_key,
        ADMIN,
        "Revoke a key",
        status=204,
        errors=(401, 403, 404, 503),
    ),
]
"""The queen herself."""
