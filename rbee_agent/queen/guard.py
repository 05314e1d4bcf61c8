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


def begin(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> None:
    """Have `group` run `work`, guarded; where the group ends before it began, nothing is done."""
    task = group.create_task(guarded(work, name), name=name)
    task.add_done_callback(lambda _: work.close())


def begin_into(
    group: asyncio.TaskGroup, work: Coroutine[Any, Any, T], future: asyncio.Future[T]
) -> None:
    """As `begin`, for work whose result somebody waits for."""
    task = group.create_task(into(work, future))

    def ended(_: asyncio.Task[None]) -> None:
        work.close()
        future.cancel()

    task.add_done_callback(ended)


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
