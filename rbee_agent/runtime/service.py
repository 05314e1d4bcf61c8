"""A daemon's frame: event loop, signals, and a shutdown that somebody waits for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

Service = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set, then puts its things away and returns."""


def run_service(service: Service) -> None:
    """Run `service` on a fresh loop (uvloop where there is one) until SIGTERM or SIGINT.

    A second signal ends the process without waiting any longer.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_with_signals(service))


async def _with_signals(service: Service) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs always has a task

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    with suppress(asyncio.CancelledError):
        await service(stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
