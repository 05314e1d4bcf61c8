"""What every request of ours passes: correlation, errors, version, origin, token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import ValidationError

from rbee_agent.contracts.routes import CORRELATION_HEADER
from rbee_agent.errors import RbeeError, Refused
from rbee_agent.http.errors import error_response, from_http
from rbee_agent.observe import correlation, logs
from rbee_agent.wire.versions import check_peer, version_headers
from rbee_agent.wire.violations import invalid_params

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorShape = Callable[[web.Request, RbeeError], web.Response]

ERROR_SHAPE: web.AppKey[ErrorShape] = web.AppKey("error_shape")
"""How an application says errors, where it speaks more APIs than ours."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_VERSION_HEADERS = version_headers()


class TokenCheck(Protocol):
    """Decides whether a presented token may use a route."""

    def __call__(self, request: web.Request, token: str | None, /) -> None:
        """Return where it may.

        Raises:
            RbeeError: MISSING_TOKEN, BAD_TOKEN or FORBIDDEN.
        """


@web.middleware
async def correlate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: gives the request its correlation id and turns every error into an answer."""
    correlation_id = correlation.accept(request.headers.get(CORRELATION_HEADER))
    token = correlation.current.set(correlation_id)
    try:
        response = await _answer(request, handler)
        if not response.prepared:
            response.headers[CORRELATION_HEADER] = correlation_id
            response.headers.update(_VERSION_HEADERS)
        return response
    finally:
        correlation.current.reset(token)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RbeeError as error:
        return _refusal(request, error)
    except ValidationError as error:
        return _refusal(request, invalid_params(error))
    except web.HTTPException as error:
        return _refusal(request, from_http(error))
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception:
        logs.get("http").exception("request failed", method=request.method, path=request.path)
        return _refusal(request, RbeeError("an internal error; the log of this agent has it"))


def _refusal(request: web.Request, error: RbeeError) -> web.Response:
    shape = request.app.get(ERROR_SHAPE)
    return error_response(error) if shape is None else shape(request, error)


def refuse_web_pages(
    *, allowed_hosts: Collection[str] = ()
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Checks Host and Origin, so that no web page (also by DNS rebinding) reaches an agent.

    Args:
        allowed_hosts: further names, without port, that requests may be addressed to.
    """
    names = _LOOPBACK_NAMES | set(allowed_hosts)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Over TLS every request shows a token: a name that was bent gains nothing there.
        if not request.secure and _host_name(request.host) not in names:
            raise Refused("this agent is not called that; use its own address", code="FORBIDDEN")
        origin = request.headers.get("Origin")
        if origin is not None and (urlsplit(origin).hostname or "") not in names:
            raise Refused("requests from web pages are refused", code="FORBIDDEN")
        return await handler(request)

    return check


def require(check: TokenCheck) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Asks `check` about the bearer token of every request, and about the peer's version."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        check_peer(request.headers, peer="caller", mend="rbee hive update --all")
        check(request, bearer(request))
        return await handler(request)

    return authenticate


def bearer(request: web.Request) -> str | None:
    """The token of the Authorization header, if there is one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
