"""Writing server-sent events to one reader."""

from __future__ import annotations

import asyncio
import socket
import sys
from types import TracebackType
from typing import Self

from aiohttp import web

from rbee_agent.contracts.routes import CORRELATION_HEADER, PING_INTERVAL_S, SSE_CONTENT_TYPE
from rbee_agent.observe.correlation import current
from rbee_agent.wire.sse import PING, encode
from rbee_agent.wire.versions import version_headers

VANISHED_MS = 30_000
"""A reader whose host vanished acknowledges nothing: after so long its connection counts as broken
(the system's own patience is a quarter of an hour). The pings see to it that there is something to
acknowledge."""
NEVER_BLOCKS = 32 * 1024
"""Below aiohttp's 64 KiB mark a write only fills the buffer."""


class SseWriter:
    """One open event stream; pings when nothing else is said.

    Use it as an async context manager: entering sends the headers, leaving ends the stream.
    A reader that is gone raises ConnectionResetError from `send` or `write`.
    """

    def __init__(
        self,
        request: web.Request,
        *,
        ping: bytes | None = PING,
        ping_interval: float = PING_INTERVAL_S,
        write_timeout: float = 60.0,
        content_type: str = SSE_CONTENT_TYPE,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Prepare for `request`; a write that its reader does not take in time ends the stream.

        Args:
            request: whose answer it is.
            ping: what is said after a silence; None for formats that have nothing to say it with.
            ping_interval: seconds of silence before a ping.
            write_timeout: seconds that one write may take.
            content_type: of the stream.
            headers: further ones.
        """
        self._request = request
        self._ping_bytes = ping
        self._ping_interval = ping_interval
        self._write_timeout = write_timeout
        self._last_write = 0.0
        self._pinger: asyncio.Task[None] | None = None
        self.response = web.StreamResponse(
            headers={
                "Content-Type": content_type,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                CORRELATION_HEADER: current.get() or "",
                **version_headers(),
                **(headers or {}),
            }
        )

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        _give_up_on_the_vanished(self._request.transport)
        if self._ping_bytes is not None:
            self._pinger = asyncio.create_task(self._ping(self._ping_bytes))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pinger is not None:
            self._pinger.cancel()
            await asyncio.gather(self._pinger, return_exceptions=True)
        if error is None:
            await self.response.write_eof()

    async def send(self, data: str, *, event: str | None = None, id: str | None = None) -> None:
        """Send one event, waiting as long as the reader's buffer is full.

        Raises:
            ConnectionResetError: the reader is gone or did not read for `write_timeout` seconds.
        """
        await self.write(encode(data, event=event, id=id))

    async def write(self, chunk: bytes) -> None:
        """Send bytes that are already events.

        Raises:
            ConnectionResetError: as `send`.
        """
        self._last_write = asyncio.get_running_loop().time()
        transport = self._request.transport
        if transport is not None and transport.get_write_buffer_size() + len(chunk) < NEVER_BLOCKS:
            # The usual case, once a token: nothing can wait here, so no deadline is set up.
            await self.response.write(chunk)
            return
        try:
            async with asyncio.timeout(self._write_timeout):
                await self.response.write(chunk)
        except TimeoutError as error:
            raise ConnectionResetError("the reader does not read") from error

    async def _ping(self, ping: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            quiet = loop.time() - self._last_write
            if quiet < self._ping_interval:
                await asyncio.sleep(self._ping_interval - quiet)
                continue
            try:
                await self.write(ping)
            except ConnectionResetError:
                return


def _give_up_on_the_vanished(transport: asyncio.Transport | None) -> None:
    """Bound how long bytes may stay unacknowledged, where the system can."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None and sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_MS)
