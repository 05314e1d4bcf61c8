"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rbee_agent.contracts.routes import REQUEST_ID_HEADER
from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.http.errors import error_headers, json_response
from rbee_agent.observe.correlation import current

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES = {
    "MISSING_TOKEN": "invalid_api_key",
    "BAD_TOKEN": "invalid_api_key",
    "ADMISSION_REJECT": "rate_limit_exceeded",
    "QUEUE_FULL_DROP_LRU": "rate_limit_exceeded",
    "QUOTA_EXCEEDED": "insufficient_quota",
    "INTERNAL": "server_error",
}
"""Codes that OpenAI's clients know by another name; all others are ours in lower case."""


def refusal(error: RbeeError) -> web.Response:
    """The answer to a request that is refused."""
    headers = error_headers(error)
    # OpenAI's clients try again on 409 and 5xx by themselves, unless they are told.
    headers[REQUEST_ID_HEADER] = current.get() or ""
    headers["x-should-retry"] = "true" if error.retriable else "false"
    return json_response(error_body(error), status=error.http_status, headers=headers)


def error_body(error: RbeeError) -> dict[str, Any]:
    """The `error` object: what is wrong, which field, and our own code beside OpenAI's."""
    message = error.message
    param = None
    if isinstance(error, InvalidParams) and error.errors:
        param = error.errors[0]["field"]
        message = "; ".join(f"{one['field']}: {one['message']}" for one in error.errors)
    elif error.code == "MODEL_NOT_FOUND":
        param = "model"
    body: dict[str, Any] = {
        "message": message,
        "type": _type_of(error),
        "param": param,
        "code": _CODES.get(error.code, error.code.lower()),
    }
    if error.retry_after_ms is not None:
        body["retry_after_ms"] = error.retry_after_ms
    return {"error": body}


def _type_of(error: RbeeError) -> str:
    status = error.http_status
    return _TYPES.get(status, "invalid_request_error" if status < 499 else "server_error")
