"""Errors in the shape of llama.cpp's server."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.http.errors import error_headers, json_response

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    503: "unavailable_error",
}


def refusal(error: RbeeError) -> web.Response:
    """The answer to a request that is refused."""
    return json_response(error_body(error), status=error.http_status, headers=error_headers(error))


def error_body(error: RbeeError) -> dict[str, Any]:
    """The `error` object; one for a prompt that does not fit has both numbers."""
    message = error.message
    if isinstance(error, InvalidParams):
        message = "; ".join(f"{one['field']}: {one['message']}" for one in error.errors)
    status = error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 499 else "server_error")
    more: dict[str, Any] = {}
    if error.code == "CONTEXT_LENGTH_EXCEEDED":
        kind = "exceed_context_size_error"
        told = error.details or {}
        more = {"n_prompt_tokens": told.get("tokens"), "n_ctx": told.get("context")}
    return {"error": {"code": status, "message": message, "type": kind, **more}}
