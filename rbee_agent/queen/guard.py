"""One job's bug must not end the queen: it is logged with its trace, and the rest goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from rbee_agent.observe import logs

T = TypeVar("T")


async def guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work`; an exception is logged and ends it, never the task group around it."""
    try:
        await work
    except Exception:
        logs.get("queen").exception("a job failed", job=name)


async def into(work: Coroutine[Any, Any, T], future: asyncio.Future[T]) -> None:
    """Run `work`; its result or error goes into the future, if anybody still wants it."""
    try:
        result = await work
    except asyncio.CancelledError:
        future.cancel()
        raise
    except Exception as error:
        if future.done():
            logs.get("queen").exception("a job failed")
        else:
            future.set_exception(error)
            # Where the caller has hung up, nobody asks for it: that is no news then.
            future.exception()
    else:
        if not future.done():
            future.set_result(result)
