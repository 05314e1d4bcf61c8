"""Routes of the catalog: models by name, where they lie, and having them fetched."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.models import Availability, CatalogModel, PullBegun, VerifyReport
from rbee_agent.contracts.nodes import NodeState
from rbee_agent.errors import NotFound, RbeeError, Unavailable
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.routes import ADMIN, READ, Route, queen_of, who_of
from rbee_agent.queen.fleet import Node
from rbee_agent.queen.service import Queen
from rbee_agent.queen.views import node_info

MAX_BODY = 1024 * 1024


class PullRequest(Contract):
    """Where a model should be fetched to."""

    node_id: str | None = None
    """None: the online host with the most free disk."""


class ModelState(Contract):
    """Whether new tasks may use a model."""

    state: str = Field(pattern="^(Active|Retired)$")


async def models(request: web.Request) -> web.Response:
    """Every model known by name."""
    return json_response({"models": [m.dump() for m in queen_of(request).catalog.all()]})


async def add_model(request: web.Request) -> web.Response:
    """Put a model into the catalog."""
    body = CatalogModel.model_validate(await read_json_object(request, max_bytes=MAX_BODY))
    model = await queen_of(request).catalog.put(body)
    return json_response(model.dump(), status=201)


async def show_model(request: web.Request) -> web.Response:
    """One model."""
    queen = queen_of(request)
    model = queen.catalog.get(request.match_info["id"])
    return json_response({**model.dump(), "nodes": queen.catalog.where(model.id)})


async def remove_model(request: web.Request) -> web.Response:
    """Take a model out of the catalog; files stay where they are."""
    await queen_of(request).catalog.remove(request.match_info["id"])
    return web.Response(status=204)


async def set_state(request: web.Request) -> web.Response:
    """Retire a model, or make it active again."""
    queen = queen_of(request)
    wanted = ModelState.model_validate(await read_json_object(request, max_bytes=MAX_BODY))
    model = queen.catalog.get(request.match_info["id"])
    changed = CatalogModel.model_validate({**model.model_dump(), "state": wanted.state})
    return json_response((await queen.catalog.put(changed)).dump())


async def availability(request: web.Request) -> web.Response:
    """Which host has which model."""
    catalog = queen_of(request).catalog
    return json_response({"models": {m.id: catalog.where(m.id) for m in catalog.all()}})


async def pull(request: web.Request) -> web.Response:
    """Have a model fetched onto a host; its progress is in the event feed."""
    queen = queen_of(request)
    body = await read_json_object(request, max_bytes=MAX_BODY) if request.can_read_body else {}
    wanted = PullRequest.model_validate(body)
    model_id = queen.catalog.resolve(request.match_info["id"], who_of(request))
    await queen.catalog.save()
    node = _where_to(queen, wanted.node_id)
    queen.later(_fetch(queen, node, model_id))
    return json_response({"model": model_id, "node_id": node.id}, status=202)


async def verify(request: web.Request) -> web.Response:
    """Have the bytes of a model hashed wherever it lies."""
    queen = queen_of(request)
    model_id = request.match_info["id"]
    nodes = [node for node in queen.registry.nodes.values() if model_id in node.models]
    if not nodes:
        queen.catalog.get(model_id)
        raise NotFound(f"no host has {model_id}; `rbee model pull {model_id}` gets it")
    results = {}
    for node in nodes:
        path = f"/v1/models/{model_id}/verify"
        results[node.id] = await queen.links.call(node, "POST", path, json_body={}, timeout=600.0)
    return json_response({"model": model_id, "nodes": results})


async def _fetch(queen: Queen, node: Node, model_id: str) -> None:
    try:
        await queen.deployments.fetch(node, model_id)
    except RbeeError as error:
        queen.feed.narrate(
            f"{model_id} could not be fetched onto {node.id}: {error.message}",
            level="error",
            noun="model",
            id=model_id,
        )


def _where_to(queen: Queen, node_id: str | None) -> Node:
    if node_id is not None:
        node = queen.registry.nodes.get(node_id)
        if node is None:
            raise NotFound(f"no host {node_id} is registered; `rbee hive ls` lists them")
        return node
    online = [n for n in queen.registry.nodes.values() if n.state is NodeState.ONLINE]
    if not online:
        raise Unavailable("no host is online", retry_after_ms=5000)
    return max(online, key=lambda node: (node_info(node).disk_free or 0, node.id))


ROUTES = [
    Route(
        "GET",
        "/v2/catalog/models",
        models,
        READ,
        "Every model known by name",
        answer=CatalogModel,
        many="models",
    ),
    Route(
        "POST",
        "/v2/catalog/models",
        add_model,
        ADMIN,
        "Add a model",
        body=CatalogModel,
        answer=CatalogModel,
        status=201,
        errors=(400, 401, 403, 413, 415, 503),
    ),
    Route(
        "GET", "/v2/catalog/availability", availability, READ, "Who has what", answer=Availability
    ),
    Route(
        "GET",
        "/v2/catalog/models/{id}",
        show_model,
        READ,
        "One model",
        answer=dict,
        errors=(401, 403, 404),
    ),
    Route(
        "DELETE",
        "/v2/catalog/models/{id}",
        remove_model,
        ADMIN,
        "Drop a model from the catalog",
        status=204,
        errors=(401, 403, 404, 503),
    ),
    Route(
        "POST",
        "/v2/catalog/models/{id}/state",
        set_state,
        ADMIN,
        "Retire a model, or take it back",
        body=ModelState,
        answer=CatalogModel,
        errors=(400, 401, 403, 404, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/catalog/models/{id}/pull",
        pull,
        ADMIN,
        "Have a model fetched onto a host",
        body=PullRequest,
        answer=PullBegun,
        status=202,
        errors=(400, 401, 403, 404, 409, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/catalog/models/{id}/verify",
        verify,
        ADMIN,
        "Hash a model's bytes wherever it lies",
        answer=VerifyReport,
        errors=(401, 403, 404, 503),
    ),
]
"""The catalog."""
