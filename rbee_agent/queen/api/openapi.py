"""``/openapi.json``: made from the table of routes and the contract types, never by hand."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rbee_agent import __version__
from rbee_agent.errors import CODES
from rbee_agent.queen.api.dialects import refusal_of
from rbee_agent.queen.api.routes import Route

_REF = "#/components/schemas/{model}"
_TEXT = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "Done, nothing to say",
    400: "The request is not valid",
    401: "No token, or not a valid one",
    403: "Not allowed with this key",
    404: "Not there",
    409: "Contradicts what is so already",
    413: "Too large",
    415: "Not JSON",
    429: "Too much at once; see Retry-After",
    500: "It failed",
    503: "Not now; see Retry-After",
    504: "Its deadline passed",
}


def document(routes: list[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    types = _types(routes)
    _, definitions = models_json_schema([(kind, "validation") for kind in types], ref_template=_REF)
    schemas: dict[str, Any] = dict(definitions.get("$defs", {}))
    schemas["Error"] = _error_schema()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain_path(route), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rbee queen",
            "version": __version__,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def plain_path(route: Route) -> str:
    """A route's path with bare names in braces."""
    return re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)


def _types(routes: list[Route]) -> list[type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for route in routes:
        for kind in (route.body, route.answer):
            if kind is not None and issubclass(kind, BaseModel):
                found[kind.__name__] = kind
    return list(found.values())


def _operation(route: Route) -> dict[str, Any]:
    path = plain_path(route)
    words = re.findall(r"[A-Za-z0-9]+", path)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": "_".join([route.method.lower(), *words]),
        "tags": [words[1] if len(words) > 1 else "queen"],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ]
        + [
            {"name": name, "in": "query", "required": False, "schema": {"type": kind}}
            for name, kind in route.query.items()
        ],
        "responses": _responses(route),
    }
    if route.roles is not None:
        operation["security"] = [{"key": []}, {}]
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(route.body)}},
        }
    return operation


def _responses(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": _TEXT[route.status]}
    if route.stream:
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif route.answer is not None:
        schema = _schema(route.answer)
        if route.many is not None:
            schema = {
                "type": "object",
                "required": [route.many],
                "properties": {route.many: {"type": "array", "items": schema}},
            }
        good["content"] = {"application/json": {"schema": schema}}
        if route.or_stream or "stream" in getattr(route.body, "model_fields", ()):
            # Ollama's streams are lines of JSON, all others are events.
            kind = "application/x-ndjson" if route.path.startswith("/api/") else "text/event-stream"
            good["content"][kind] = {"schema": {}}
    elif route.status == 200:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(route.status): good}
    for status in route.also:
        same = status != 204
        responses[str(status)] = (
            {**good, "description": _TEXT[status]} if same else {"description": _TEXT[status]}
        )
    for status in route.errors:
        if str(status) not in responses:
            responses[str(status)] = {
                "description": _TEXT[status],
                "content": {"application/json": {"schema": _error_of(route)}},
            }
    return responses


def _schema(kind: type[Any]) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {"$ref": _REF.format(model=kind.__name__)}
    if kind is list:
        return {"type": "array"}
    return {"type": "object"} if kind is dict else {}


def _error_of(route: Route) -> dict[str, Any]:
    """Our own shape on /v2; the APIs that we speak for others have theirs."""
    if refusal_of(route.path) is not None:
        return {"type": "object"}
    return {"$ref": _REF.format(model="Error")}


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "retriable"],
                "properties": {
                    "code": {"type": "string", "enum": sorted(CODES)},
                    "message": {"type": "string"},
                    "retriable": {"type": "boolean"},
                    "retry_after_ms": {"type": "integer"},
                    "correlation_id": {"type": "string"},
                    "details": {"type": "object"},
                },
            }
        },
    }
