"""Readers of tasks: who reads, and what happens to a task when nobody does any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from rbee_agent.contracts.tasks import Accepted
from rbee_agent.queen.stream import ClientFrame
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks
from rbee_agent.settings.config import QueenSettings

Entered = tuple[Task | None, Accepted, bool]
"""What `Admission.submit` gives."""


async def entered(entering: asyncio.Future[Entered], unread: Callable[[Task], None]) -> Entered:
    """Wait for a submission; it goes on when its caller hangs up meanwhile.

    Args:
        entering: the submission, as a task of the queen's own.
        unread: gets the task that nobody waits for any more.
    """
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(partial(_too_late, unread))
        raise


def _too_late(unread: Callable[[Task], None], entering: asyncio.Future[Entered]) -> None:
    if entering.cancelled() or entering.exception() is not None:
        return
    task = entering.result()[0]
    if task is not None:
        unread(task)


@dataclass(frozen=True, slots=True)
class Readers:
    """Counts the readers of each task."""

    _tasks: Tasks
    _settings: QueenSettings
    _later: Callable[[Coroutine[Any, Any, None]], None]

    async def frames(
        self, task: Task, *, after: str | None = None, verbose: bool = False
    ) -> AsyncGenerator[list[ClientFrame], bool | None]:
        """A task's frames to its end, as :meth:`TaskStream.read` gives them; counts as reading.

        When the last reader of a running task goes, the task is cancelled after its grace.
        """
        self._came(task)
        try:
            async with aclosing(task.stream.read(after=after, verbose=verbose)) as batches:
                lags: bool | None = None
                try:
                    batch = await batches.asend(None)
                    while True:
                        lags = yield batch
                        batch = await batches.asend(lags)
                except StopAsyncIteration:
                    return
        finally:
            self._left(task)

    def _came(self, task: Task) -> None:
        task.stream.readers += 1
        if not task.was_read:
            task.was_read = True
            self._tasks.say_queued(task)
        if task.grace is not None:
            task.grace.cancel()
            task.grace = None

    def _left(self, task: Task) -> None:
        task.stream.readers -= 1
        self.gone(task)

    def gone(self, task: Task) -> None:
        """A reader went, maybe before it began: the last one's going starts the task's grace."""
        if task.stream.readers or task.state.final or task.request.detach:
            return
        if task.grace is not None:
            task.grace.cancel()
        grace = task.request.reconnect_grace_ms
        seconds = (self._settings.reconnect_grace_ms if grace is None else grace) / 1000
        task.grace = asyncio.get_running_loop().call_later(seconds, self.unread, task)

    def unread(self, task: Task) -> None:
        """Cancel a task that nobody will read any more."""
        self._later(self._tasks.cancel(task, "its reader is gone"))
