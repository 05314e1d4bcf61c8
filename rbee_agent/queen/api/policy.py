"""Routes of the policy script: see it, change it, try it, drop it."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.events import FleetSnapshot
from rbee_agent.contracts.policy import PolicyInForce, PolicyTrial
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.routes import ADMIN, READ, Route, queen_of
from rbee_agent.queen.placement import CANDIDATES, WorkerView
from rbee_agent.queen.policy import MAX_SOURCE, script_data
from rbee_agent.queen.service import Queen

MAX_BODY = 1024 * 1024
MAX_SNAPSHOT = 16 * 1024 * 1024


class PolicyRequest(Contract):
    """A policy script."""

    source: str = Field(max_length=MAX_SOURCE)
    name: str = Field("policy.star", max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class PolicyCheck(PolicyRequest):
    """A policy script, and what to try it on."""

    snapshot: dict[str, Any] | None = None
    """The data of a ``snapshot`` of ``GET /v2/events``: its open tasks are decided anew."""


async def show(request: web.Request) -> web.Response:
    """The policy in force."""
    queen = queen_of(request)
    script = queen.policy.script
    if script is None:
        return json_response({"policy": None, "strategy": queen.dispatcher.strategy})
    return json_response({"policy": script_data(script), "strategy": queen.dispatcher.strategy})


async def put(request: web.Request) -> web.Response:
    """Check a script, try it on the fleet as it is, then let it decide."""
    queen = queen_of(request)
    body = PolicyRequest.model_validate(await read_json_object(request, max_bytes=MAX_BODY))
    script = await queen.policy.put(body.name, body.source, queen.clock.utc(), _some_workers(queen))
    return json_response({"policy": script_data(script), "strategy": queen.dispatcher.strategy})


async def check(request: web.Request) -> web.Response:
    """What a script would answer now, or in a recorded fleet; nothing changes."""
    queen = queen_of(request)
    body = PolicyCheck.model_validate(await read_json_object(request, max_bytes=MAX_SNAPSHOT))
    said = await queen.policy.check(
        body.name,
        body.source,
        queen.clock.utc(),
        workers=_some_workers(queen),
        snapshot=None if body.snapshot is None else FleetSnapshot.read(body.snapshot),
    )
    return json_response(said.dump())


async def drop(request: web.Request) -> web.Response:
    """Go back to the built-in policy."""
    await queen_of(request).policy.drop()
    return web.Response(status=204)


def _some_workers(queen: Queen) -> list[WorkerView]:
    """The workers of the first model that has any: what a trial runs on."""
    for worker in queen.registry.workers.values():
        index = queen.registry.index(worker.info.model)
        if index is not None:
            return list(index)[:CANDIDATES]
    return []


ROUTES = [
    Route("GET", "/v2/policy", show, READ, "The policy in force", answer=PolicyInForce),
    Route(
        "PUT",
        "/v2/policy",
        put,
        ADMIN,
        "Change the policy",
        body=PolicyRequest,
        answer=PolicyInForce,
        errors=(400, 401, 403, 413, 415, 503),
    ),
    Route(
        "POST",
        "/v2/policy/check",
        check,
        ADMIN,
        "Try a policy",
        body=PolicyCheck,
        answer=PolicyTrial,
        errors=(400, 401, 403, 413, 415, 503),
    ),
    Route("DELETE", "/v2/policy", drop, ADMIN, "Drop the policy", status=204),
]
"""The policy script."""
