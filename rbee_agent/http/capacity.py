"""How many requests a server holds open at a time: bounded by what the system lets it open.

Without a bound the process would run out of file descriptors, and then it is not the newest caller
who suffers but the store, the journals and the workers' connections.
"""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable

from aiohttp import web

from rbee_agent.errors import Unavailable

KEPT_BACK = 256
"""Descriptors that are never given to callers: files, links to hives, idle connections."""
RETRY_MS = 2000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, 2**20)
    if soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (ValueError, OSError):
            return soft  # macOS says "no limit" and grants less
    return most


def most_requests(files: int) -> int:
    """Open requests that so many files allow: each may hold a connection to a worker, too."""
    return max(16, (files - KEPT_BACK) * 3 // 4)


def at_most(most: int) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Refuses requests beyond `most` open ones, with a reason and when to try again."""
    held = 0

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal held
        if held >= most:
            raise Unavailable(
                f"{most} requests and streams are open already, more than that this process may "
                "not hold (ulimit -n)",
                code="ADMISSION_REJECT",
                retry_after_ms=RETRY_MS,
            )
        held += 1
        try:
            return await handler(request)
        finally:
            held -= 1

    return check
