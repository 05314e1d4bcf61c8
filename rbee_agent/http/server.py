"""One aiohttp server: bind with a useful refusal, run until told, drain, close."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl

import aiohttp
from aiohttp import web

from rbee_agent.errors import Conflict, Refused


class Server:
    """Runs one application on one address.

    Raises from :meth:`start`:
        Conflict: the port is taken; names the process that has it.
    """

    def __init__(self, app: web.Application, *, shutdown_timeout: float = 5.0) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=shutdown_timeout
        )
        self.port = 0

    async def start(self, host: str, port: int, *, choose: str) -> None:
        """Listen on `host` and `port` (0: any free one).

        Args:
            host: address to bind.
            port: TCP port.
            choose: how a person picks another port, for the refusal.

        Raises:
            Conflict: the port is in use.
            Refused: the address cannot be bound for another reason.
        """
        listener = bind(host, port, choose=choose)
        self.port = int(listener.getsockname()[1])
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=1024).start()

    async def open_port(self, host: str, port: int, *, choose: str, tls: ssl.SSLContext) -> int:
        """Listen on a further address, with TLS; call it behind `start`. The port (for 0).

        Raises:
            Conflict, Refused: as `start`.
        """
        listener = bind(host, port, choose=choose)
        found = int(listener.getsockname()[1])
        await web.SockSite(self._runner, listener, backlog=1024, ssl_context=tls).start()
        return found

    async def close(self) -> None:
        """Stop accepting, give open requests the shutdown time, then end them."""
        await self._runner.cleanup()


def bind(host: str, port: int, *, choose: str) -> socket.socket:
    """A bound socket, or a refusal that helps.

    Raises:
        Conflict: the port is in use; the message names who has it.
        Refused: no such address, or the port needs privileges.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} on {host} is in use{_holder(port)}; choose another: {choose}"
            ) from error
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}; {choose}") from error
    return listener


def _holder(port: int) -> str:
    """`` by nginx (pid 123)`` where the system tells us, else nothing."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                name = psutil.Process(connection.pid).name()
                return f" by {name} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""


_JSON_TYPES = ("application/json", "application/octet-stream")
_CURL_TYPE = "application/x-www-form-urlencoded"


async def read_json_object(
    request: web.Request, *, max_bytes: int, from_curl: bool = False
) -> dict[str, object]:
    """The JSON object in a request's body.

    Args:
        request: whose body is read.
        max_bytes: more are refused.
        from_curl: ``curl -d`` without a content type will do; Host and Origin keep web pages out.

    Raises:
        Refused: wrong content type, too large, no JSON, or no object.
    """
    types = (*_JSON_TYPES, _CURL_TYPE) if from_curl else _JSON_TYPES
    if request.content_type not in types:
        raise Refused(
            "send application/json, not " + request.content_type, code="UNSUPPORTED_MEDIA_TYPE"
        )
    if request.content_length is not None and request.content_length > max_bytes:
        raise Refused(f"a body of at most {max_bytes} bytes", code="PAYLOAD_TOO_LARGE")

    content = request.content
    try:
        if content.is_eof():
            # The usual case: it came with the headers, and nothing needs a deadline.
            raw = await _at_most(content, max_bytes + 1)
        else:
            async with asyncio.timeout(60.0):
                raw = await _at_most(content, max_bytes + 1)
    except TimeoutError as error:
        raise Refused("the body did not arrive within 60 s") from error
    if len(raw) > max_bytes:
        raise Refused(f"a body of at most {max_bytes} bytes", code="PAYLOAD_TOO_LARGE")
    try:
        value = json.loads(raw, parse_constant=_no_number)
        if b"\\u" in raw:
            # An escape may name half a pair of surrogates: that is no text, and nobody can send it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused("the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refused("the body must be a JSON object")
    return value


def _no_number(name: str) -> float:
    """JSON has no NaN and no Infinity.

    Raises:
        ValueError: always.
    """
    raise ValueError(name)


async def _at_most(content: aiohttp.StreamReader, count: int) -> bytes:
    """A body to its end, or its first `count` bytes."""
    raw = await content.read(count)
    while len(raw) < count and not content.at_eof():
        raw += await content.read(count - len(raw))
    return raw
