"""Errors in the shape of Anthropic's API."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.http.errors import error_headers, json_response
from rbee_agent.observe.correlation import current

REQUEST_ID = "request-id"
"""The header in which Anthropic's clients look for the id of a request."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def refusal(error: RbeeError) -> web.Response:
    """The answer to a request that is refused."""
    headers = error_headers(error)
    # Its clients try again on 408, 409, 429 and 5xx by themselves, unless they are told.
    headers["x-should-retry"] = "true" if error.retriable else "false"
    headers[REQUEST_ID] = current.get() or ""
    body = error_body(error) | {"request_id": current.get()}
    return json_response(body, status=error.http_status, headers=headers)


def error_body(error: RbeeError) -> dict[str, Any]:
    """The error object; our own code stands in its message's place of origin, `code`."""
    message = error.message
    if isinstance(error, InvalidParams):
        message = "; ".join(f"{one['field']}: {one['message']}" for one in error.errors)
    status = error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 499 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message, "code": error.code}}
