"""A queen's requests to a worker, passed on from the hive's own port.

Workers listen on loopback alone. Where no SSH leads to them, the port that the hive opened does:
what comes for a worker carries that worker's own token, and goes on byte for byte.
"""

from __future__ import annotations

import aiohttp
from aiohttp import web

from rbee_agent.errors import Unreachable
from rbee_agent.http.peers import why

CONNECT_TIMEOUT_S = 2.0
_OF_ONE_HOP = {"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that speak of one connection, not of what goes over it."""


async def pass_on(
    session: aiohttp.ClientSession, request: web.Request, target: str
) -> web.StreamResponse:
    """Do the request at `target`, and give its answer as it comes.

    Raises:
        Unreachable: nobody answers there. An answer that breaks off breaks off here, too.
    """
    headers = [(name, value) for name, value in request.headers.items() if _goes_on(name)]
    response: web.StreamResponse | None = None
    try:
        async with session.request(
            request.method,
            target,
            headers=headers,
            params=request.query,
            data=request.content if request.body_exists else None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            auto_decompress=False,
            allow_redirects=False,
        ) as upstream:
            kept = [(name, value) for name, value in upstream.headers.items() if _goes_on(name)]
            response = web.StreamResponse(status=upstream.status, headers=kept)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if response is None or not response.prepared:
            raise Unreachable(f"the worker cannot be reached: {why(error)}") from error
        if request.transport is not None:
            # An end would look like the whole answer.
            request.transport.abort()
    return response


def _goes_on(header: str) -> bool:
    return header.lower() not in _OF_ONE_HOP
