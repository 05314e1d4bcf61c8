"""Errors in the shape of Ollama's API: one sentence."""

from __future__ import annotations

from aiohttp import web

from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.http.errors import error_headers, json_response


def refusal(error: RbeeError) -> web.Response:
    """The answer to a request that is refused."""
    body = {"error": sentence(error), "code": error.code}
    return json_response(body, status=error.http_status, headers=error_headers(error))


def sentence(error: RbeeError) -> str:
    """What is wrong, every violation with its field."""
    if not isinstance(error, InvalidParams):
        return error.message
    return "; ".join(f"{one['field']}: {one['message']}" for one in error.errors)
