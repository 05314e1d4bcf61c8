"""Routes of pools: all workers of one model on one device; see them, drain, reload, purge."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.pools import PoolInfo
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.routes import ADMIN, READ, Route, queen_of, who_of

MAX_BODY = 1024 * 1024


class PoolOrder(Contract):
    """What to do with a pool, and how long its streams may take to end."""

    deadline_ms: int = Field(60_000, ge=0, le=24 * 3600 * 1000)
    model: str | None = Field(None, min_length=1, max_length=512)
    """reload only; None: the same model anew."""


async def pools(request: web.Request) -> web.Response:
    """Workers by model, host and device."""
    found = queen_of(request).pools.all()
    return json_response({"pools": [pool.dump() for pool in found.values()]})


async def pool_health(request: web.Request) -> web.Response:
    """One pool: ready, slots, and what is the matter with its workers."""
    queen = queen_of(request)
    pool = queen.pools.get(request.match_info["id"])
    workers = [queen.registry.workers[worker_id] for worker_id in pool.worker_ids]
    troubles = {
        worker.info.id: worker.trouble or worker.info.error
        for worker in workers
        if worker.trouble or worker.info.error
    }
    return json_response({**pool.dump(), "troubles": troubles})


async def drain_pool(request: web.Request) -> web.Response:
    """Give a pool nothing new; what still runs at the deadline goes elsewhere."""
    queen = queen_of(request)
    wanted = await _pool_order(request)
    pool = queen.pools.begin(request.match_info["id"])
    queen.later(queen.pools.drain(pool, wanted.deadline_ms / 1000))
    return json_response(pool.dump(), status=202)


async def reload_pool(request: web.Request) -> web.Response:
    """Put another model in a pool's place; the old one stays where that fails."""
    queen = queen_of(request)
    wanted = await _pool_order(request)
    pool = queen.pools.get(request.match_info["id"])
    model = queen.catalog.resolve(wanted.model or pool.model, who_of(request))
    await queen.catalog.save()
    pool = queen.pools.begin(pool.id)
    queen.later(queen.pools.reload(pool, model, wanted.deadline_ms / 1000))
    return json_response(pool.dump(), status=202)


async def purge_pool(request: web.Request) -> web.Response:
    """End a pool's workers now and withdraw the wishes behind them."""
    queen = queen_of(request)
    pool = queen.pools.begin(request.match_info["id"])
    queen.later(queen.pools.purge(pool))
    return json_response(pool.dump(), status=202)


async def _pool_order(request: web.Request) -> PoolOrder:
    body = await read_json_object(request, max_bytes=MAX_BODY) if request.can_read_body else {}
    return PoolOrder.model_validate(body)


ROUTES = [
    Route("GET", "/v2/pools", pools, READ, "Every pool", answer=PoolInfo, many="pools"),
    Route(
        "GET",
        "/v2/pools/{id}/health",
        pool_health,
        READ,
        "One pool's health",
        answer=dict,
        errors=(401, 403, 404),
    ),
    Route(
        "POST",
        "/v2/pools/{id}/drain",
        drain_pool,
        ADMIN,
        "Give a pool nothing new",
        body=PoolOrder,
        answer=PoolInfo,
        status=202,
        errors=(400, 401, 403, 404, 409, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/pools/{id}/reload",
        reload_pool,
        ADMIN,
        "Put another model in a pool's place",
        body=PoolOrder,
        answer=PoolInfo,
        status=202,
        errors=(400, 401, 403, 404, 409, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/pools/{id}/purge",
        purge_pool,
        ADMIN,
        "End a pool's workers",
        answer=PoolInfo,
        status=202,
        errors=(401, 403, 404, 409, 503),
    ),
]
"""The pools."""
