"""Housekeeping: what the queen does once a second, and what she forgets now and then."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rbee_agent.errors import RbeeError
from rbee_agent.observe import logs
from rbee_agent.queen.dispatch import Dispatcher
from rbee_agent.queen.guard import guarded
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.reporting import Reporter
from rbee_agent.queen.tasks import Tasks
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.config import QueenSettings
from rbee_agent.store.base import Store

EVERY_S = 1.0
FORGET_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Trust again, promote, report, forget what is old, measure the loop's lag."""

    _tasks: Tasks
    _registry: Registry
    _dispatcher: Dispatcher
    _reporter: Reporter
    _store: Store
    _settings: QueenSettings
    _clock: Clock

    async def run(self) -> None:
        """Do it until cancelled."""
        forgotten = -FORGET_EVERY_S
        while True:
            before = self._clock.monotonic()
            await asyncio.sleep(EVERY_S)
            now = self._clock.monotonic()
            self._tasks.metrics.loop_lag.set(max(0.0, now - before - EVERY_S))
            await guarded(self._tidy(now), "housekeeping")
            if now - forgotten >= FORGET_EVERY_S:
                forgotten = now
                await self._forget()

    async def _tidy(self, now: float) -> None:
        for model in self._registry.trust_again():
            self._dispatcher.poke(model)
        for task in self._tasks.queue.promote(now - self._settings.promote_after_s):
            self._tasks.changed(task)
        self._tasks.sessions.sweep()
        self._reporter.report_all(now)

    async def _forget(self) -> None:
        """Drop tasks whose retention is over."""
        try:
            await self._store.forget_tasks(self._clock.utc() - self._settings.retention_s)
        except RbeeError as error:
            logs.get("queen").warning("retention", problem=error.message)
