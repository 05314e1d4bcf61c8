"""Errors as HTTP answers: one shape on every route of ours."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web

from rbee_agent.contracts.routes import BACKOFF_HEADER
from rbee_agent.errors import RbeeError
from rbee_agent.observe.correlation import current

_STATUS_CODES = {
    400: "INVALID_PARAMS",
    404: "NOT_FOUND",
    405: "INVALID_PARAMS",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}


def error_response(error: RbeeError) -> web.Response:
    """The contract's error body, with Retry-After where trying again makes sense."""
    return json_response(
        {"error": error.body(current.get())},
        status=error.http_status,
        headers=error_headers(error),
    )


def error_headers(error: RbeeError) -> dict[str, str]:
    """What the headers of a refusal say, whatever shape its body has."""
    headers: dict[str, str] = {}
    if error.http_status in (429, 503):
        wait_ms = 1000 if error.retry_after_ms is None else error.retry_after_ms
        headers["Retry-After"] = str(max(1, math.ceil(wait_ms / 1000)))
        headers[BACKOFF_HEADER] = str(wait_ms)
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def json_response(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Compact JSON."""
    return web.Response(
        text=json.dumps(value, separators=(",", ":"), ensure_ascii=False),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def from_http(error: web.HTTPException) -> RbeeError:
    """What aiohttp itself refuses (no such route, body too large), in our shape."""
    code = _STATUS_CODES.get(error.status, "INTERNAL")
    if error.status == 404:
        return RbeeError("there is no such route", code=code)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return RbeeError(f"this route takes {allowed}, not {error.method}", code=code)
    return RbeeError(error.reason or "refused", code=code)
