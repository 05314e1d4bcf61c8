"""Routes of the control plane: hosts, workers, deployments, pools, the event feed and the tap."""

from __future__ import annotations

import re
from contextlib import aclosing
from urllib.parse import urlsplit

from aiohttp import web

from rbee_agent.contracts.events import Change, TapChunk
from rbee_agent.contracts.ids import is_slug
from rbee_agent.contracts.nodes import Heartbeat, NodeInfo, NodeRegistration
from rbee_agent.contracts.pools import Deployment, DeploymentRequest
from rbee_agent.contracts.workers import WorkerInfo, WorkerReady
from rbee_agent.errors import InvalidParams, NotFound, Refused
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.http.sse import SseWriter
from rbee_agent.queen.api.routes import ADMIN, NODE, READ, Route, queen_of, who_of
from rbee_agent.queen.fleet import Node
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.views import node_info, worker_info
from rbee_agent.security.keys import Identity
from rbee_agent.wire.addresses import check_peer_url

MAX_BODY = 1024 * 1024
_FINGERPRINT = re.compile("[0-9a-f]{64}")


async def register_node(request: web.Request) -> web.Response:
    """Know a hive that the queen can reach, and open the link to it."""
    body = await read_json_object(request, max_bytes=MAX_BODY)
    queen = queen_of(request)
    registration = NodeRegistration.read(body)
    _check_registration(registration)
    registration = registration.model_copy(update={"url": registration.url.rstrip("/")})
    await queen.register_node(_allowed(queen.registry, who_of(request), registration))
    node = queen.registry.nodes[registration.node_id]
    return json_response(node_info(node).dump())


async def heartbeat(request: web.Request) -> web.Response:
    """A hive that reaches us says that it lives, and its figures."""
    queen = queen_of(request)
    _for_itself(who_of(request), request.match_info["id"])
    node = _node(queen.registry, request.match_info["id"])
    body = await read_json_object(request, max_bytes=MAX_BODY)
    queen.links.heard(node, Heartbeat.read({"node_id": node.id, **body}) if body else None)
    return web.Response(status=204)


async def nodes(request: web.Request) -> web.Response:
    """Every host."""
    registry = queen_of(request).registry
    return json_response({"nodes": [node_info(node).dump() for node in registry.nodes.values()]})


async def remove_node(request: web.Request) -> web.Response:
    """Forget a host; its workers stay as they are."""
    queen = queen_of(request)
    _node(queen.registry, request.match_info["id"])
    await queen.links.forget(request.match_info["id"])
    return web.Response(status=204)


async def drain_node(request: web.Request) -> web.Response:
    """Give a host nothing new; ``{"drain": false}`` takes it back."""
    queen = queen_of(request)
    node = _node(queen.registry, request.match_info["id"])
    body = await read_json_object(request, max_bytes=MAX_BODY) if request.can_read_body else {}
    queen.registry.drain_node(node, draining=body.get("drain", True) is not False)
    return json_response(node_info(node).dump())


async def workers(request: web.Request) -> web.Response:
    """Every worker, without its address."""
    registry = queen_of(request).registry
    return json_response({"workers": [worker_info(w).dump() for w in registry.workers.values()]})


async def spawn(request: web.Request) -> web.Response:
    """Wish for workers of a model; the queen keeps the wish true."""
    queen = queen_of(request)
    wish = DeploymentRequest.model_validate(await read_json_object(request, max_bytes=MAX_BODY))
    model = queen.catalog.resolve(wish.model, who_of(request))
    await queen.catalog.save()
    made = await queen.deployments.add(wish.model_copy(update={"model": model}))
    return json_response(made.dump(), status=202)


async def worker_ready(request: web.Request) -> web.Response:
    """A worker with no hive says that it is there."""
    ready = WorkerReady.read(await read_json_object(request, max_bytes=MAX_BODY))
    wrong = [] if _is_url(ready.url) else [_violation("url", "must be an http(s) URL")]
    if not is_slug(ready.worker_id):
        wrong.append(_violation("worker_id", "1 to 128 of A-Z a-z 0-9 . _ -"))
    if wrong:
        raise InvalidParams(wrong)
    queen_of(request).static_ready(ready)
    return web.Response(status=204)


async def stop_worker(request: web.Request) -> web.Response:
    """Stop a worker (or a whole deployment) and withdraw the wish behind it."""
    await queen_of(request).deployments.remove(request.match_info["id"])
    return web.Response(status=204)


async def worker_logs(request: web.Request) -> web.Response:
    """A worker's last log lines, from its hive."""
    queen = queen_of(request)
    worker = queen.registry.workers.get(request.match_info["id"])
    if worker is None:
        raise NotFound("no such worker; `rbee worker ls` lists them")
    node = _node(queen.registry, worker.node_id)
    body = await queen.links.call(node, "GET", f"/v1/workers/{worker.info.id}/logs")
    lines = body.get("lines", []) if isinstance(body, dict) else worker.info.last_log
    wanted = request.query.get("lines", "")
    if wanted.isdigit():
        lines = lines[-int(wanted) :] if int(wanted) else []
    return json_response({"worker_id": worker.info.id, "lines": lines})


async def deployments(request: web.Request) -> web.Response:
    """The wishes that the queen keeps."""
    wishes = queen_of(request).deployments.wishes
    return json_response({"deployments": [wish.dump() for wish in wishes]})


async def events(request: web.Request) -> web.StreamResponse:
    """The fleet: a snapshot, then every change; resumable."""
    queen = queen_of(request)
    after = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    feed = queen.feed.read(lambda: queen.snapshot().dump_json(), after=after)
    async with aclosing(feed), SseWriter(request) as writer:
        async for chunk in feed:
            await writer.write(chunk)
    return writer.response


async def tap(request: web.Request) -> web.StreamResponse:
    """What all running streams say, coalesced at 10 Hz."""
    queen, who = queen_of(request), who_of(request)
    chunks = queen.tap.read(owner=None if who.admin else who.id, text=True)
    async with aclosing(chunks), SseWriter(request) as writer:
        async for chunk in chunks:
            await writer.write(chunk)
    return writer.response


def _check_registration(registration: NodeRegistration) -> None:
    """Refuse what no request could be made of, or what would not do as an id.

    Raises:
        InvalidParams: every violation, never with the value.
    """
    wrong = []
    if not is_slug(registration.node_id):
        wrong.append(_violation("node_id", "1 to 128 of A-Z a-z 0-9 . _ -"))
    if not _is_url(registration.url):
        wrong.append(_violation("url", "must be an http(s) URL"))
    else:
        try:
            check_peer_url(registration.url, what="url")
        except Refused as error:
            wrong.append(_violation("url", error.message))
    if not _FINGERPRINT.fullmatch(registration.certificate or "0" * 64):
        wrong.append(_violation("certificate", "a SHA-256 in hex"))
    token = registration.token or ""
    if not (token.isascii() and token.isprintable()) or " " in token:
        wrong.append(_violation("token", "printable ASCII without blanks"))
    if wrong:
        raise InvalidParams(wrong)


def _allowed(registry: Registry, who: Identity, registration: NodeRegistration) -> NodeRegistration:
    """What becomes of a registration: whoever is no admin changes the address alone.

    Raises:
        Refused: it is another hive's, or shows another certificate or token than the known ones.
    """
    if who.admin:
        return registration
    _for_itself(who, registration.node_id)
    node = registry.nodes.get(registration.node_id)
    if node is None:
        return registration
    known = node.registration
    same = known.token == registration.token and known.certificate == registration.certificate
    if not same:
        raise Refused(
            f"{registration.node_id} is known with another token or certificate; if it was "
            "installed anew, `rbee hive start` introduces it",
            code="FORBIDDEN",
        )
    return known.model_copy(update={"url": registration.url, "version": registration.version})


def _for_itself(who: Identity, node_id: str) -> None:
    """Let a hive that shows its own token speak for no other.

    Raises:
        Refused: it tried.
    """
    if who.node is not None and who.node != node_id:
        raise Refused("a hive's token speaks for that hive alone", code="FORBIDDEN")


def _is_url(text: str) -> bool:
    """Whether requests can be made to an address."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and text.isascii()
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        return False


def _violation(field: str, message: str) -> dict[str, str]:
    return {"field": field, "constraint": "format", "message": message}


def _node(registry: Registry, node_id: str) -> Node:
    node = registry.nodes.get(node_id)
    if node is None:
        raise NotFound(f"no host {node_id} is registered; `rbee hive ls` lists them")
    return node


ROUTES = [
    Route(
        "POST",
        "/v2/nodes/register",
        register_node,
        NODE,
        "Know a hive",
        body=NodeRegistration,
        answer=NodeInfo,
        by_hives=True,
        errors=(400, 401, 403, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/nodes/{id}/heartbeat",
        heartbeat,
        NODE,
        "A hive's sign of life",
        body=Heartbeat,
        status=204,
        by_hives=True,
        errors=(400, 401, 403, 404, 413, 415),
    ),
    Route("GET", "/v2/nodes", nodes, READ, "Every host", answer=NodeInfo, many="nodes"),
    Route(
        "DELETE",
        "/v2/nodes/{id}",
        remove_node,
        ADMIN,
        "Forget a host",
        status=204,
        errors=(401, 403, 404, 503),
    ),
    Route(
        "POST",
        "/v2/nodes/{id}/drain",
        drain_node,
        ADMIN,
        "Give a host nothing new",
        answer=NodeInfo,
        errors=(400, 401, 403, 404, 413, 415),
    ),
    Route("GET", "/v2/workers", workers, READ, "Every worker", answer=WorkerInfo, many="workers"),
    Route(
        "POST",
        "/v2/workers",
        spawn,
        ADMIN,
        "Wish for workers of a model",
        body=DeploymentRequest,
        answer=Deployment,
        status=202,
        errors=(400, 401, 403, 404, 409, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/workers/ready",
        worker_ready,
        NODE,
        "A worker with no hive is there",
        body=WorkerReady,
        status=204,
        errors=(400, 401, 403, 413, 415),
    ),
    Route(
        "DELETE",
        "/v2/workers/{id}",
        stop_worker,
        ADMIN,
        "Stop a worker or a deployment",
        status=204,
        errors=(401, 403, 404, 503),
    ),
    Route(
        "GET",
        "/v2/workers/{id}/logs",
        worker_logs,
        READ,
        "A worker's last log lines",
        answer=dict,
        query={"lines": "integer"},
        errors=(401, 403, 404, 503),
    ),
    Route(
        "GET",
        "/v2/deployments",
        deployments,
        READ,
        "The wishes that the queen keeps",
        answer=Deployment,
        many="deployments",
    ),
    Route(
        "GET",
        "/v2/events",
        events,
        READ,
        "The fleet's event feed",
        answer=Change,
        query={"last_event_id": "string"},
        stream=True,
    ),
    Route("GET", "/v2/streams/tap", tap, READ, "All running streams", answer=TapChunk, stream=True),
]
"""The control plane's hosts and workers."""
