"""The live feed: connect, take the snapshot, follow, reconnect; at most ten views a second.

Nothing is polled: the flush sleeps until something came, and then waits out the rest of its
interval so that a burst becomes one repaint. Telemetry, which comes from each host when it likes,
is gathered for longer: numbers that change once a second can be read, and cost little. It is
taken into the fleet in small parts meanwhile, so that a key never waits for a large one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from rbee_agent.contracts.nodes import Telemetry
from rbee_agent.errors import EXIT_NOT_ALLOWED, RbeeError
from rbee_agent.wire.sse import ServerEvent
from rbee_tui.feed.inbox import Inbox
from rbee_tui.feed.source import FeedSource
from rbee_tui.state.events import Unreadable, read_event
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.link import Link, LinkState
from rbee_tui.state.reducer import count_unreadable, reduce_all
from rbee_tui.state.streams import apply_chunks, settle
from rbee_tui.state.view import View

FLUSH_INTERVAL_S: Final = 0.1
TELEMETRY_INTERVAL_S: Final = 0.8
"""With a hive's second between two samples, what is shown is never two seconds old."""
PART: Final = 20
"""Hosts whose telemetry is taken into the fleet at once."""
BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MOST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Where time comes from and how it is spent; tests bring their own."""

    now: Callable[[], float]
    """Unix seconds."""
    flush_interval_s: float = FLUSH_INTERVAL_S
    telemetry_interval_s: float = TELEMETRY_INTERVAL_S
    jitter: Callable[[], float] = random.random


class _Resync(Exception):
    """Our inbox overflowed: read the whole anew."""


class LiveFeed:
    """Owns the link and the state that comes of it; publishes views."""

    def __init__(
        self, source: FeedSource, publish: Callable[[View], None], timing: Timing, *, url: str = ""
    ) -> None:
        self._source = source
        self._publish = publish
        self._timing = timing
        self._inbox = Inbox()
        self._wake = asyncio.Event()
        self._retry_now = asyncio.Event()
        self._gathering = False
        """Telemetry waits for more of it."""
        self._gathered = False
        self._fleet = Fleet()
        """What is known; the view's fleet is older by the telemetry that waits to be shown."""
        self.view = View(link=Link(url=url, since=timing.now()), now=timing.now())

    async def run(self) -> None:
        """Live until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events(), name="feed.events")
            group.create_task(self._follow_tap(), name="feed.tap")
            group.create_task(self._flush_forever(), name="feed.flush")

    def retry(self) -> None:
        """Do not wait out the backoff: the operator asked to try now."""
        self._retry_now.set()

    async def _follow_events(self) -> None:
        """The durable feed, for ever: each break is shown, waited out and caught up.

        It always begins with a snapshot, never behind an event's id: on a quiet fleet a resumed
        feed says nothing, and an operator could not tell it from a dead one.
        """
        attempts = 0
        while True:
            problem = "the queen ended the feed"
            try:
                async with aclosing(self._source.events(reconnect=0)) as messages:
                    async for message in messages:
                        attempts = 0
                        self.take(message)
            except _Resync:
                link = self.view.link
                self._set_link(replace(link, resyncs=link.resyncs + 1))
                continue
            except RbeeError as error:
                problem = error.message
                if error.exit_code == EXIT_NOT_ALLOWED:
                    problem = f"{error.message} (check the token)"
            attempts += 1
            await self._wait_to_retry(attempts, problem)

    async def _follow_tap(self) -> None:
        """The tap, for ever; its breaks are the feed's breaks, so only the feed tells of them."""
        attempts = 0
        while True:
            try:
                async with aclosing(self._source.tap(reconnect=0)) as messages:
                    async for message in messages:
                        attempts = 0
                        self._receive(message)
            except RbeeError:
                attempts += 1
            else:
                attempts += 1
            await asyncio.sleep(self._delay(attempts))

    def take(self, message: ServerEvent) -> None:
        """Take one durable or telemetry message of the feed in; it is shown with the next flush."""
        link = self.view.link
        if not link.live:
            live = Link(LinkState.LIVE, link.url, self._timing.now(), resyncs=link.resyncs)
            self._set_link(live)
        self._receive(message)
        if self._inbox.overflowed:
            raise _Resync

    def _receive(self, message: ServerEvent) -> None:
        try:
            event = read_event(message.event, message.data, received_at=self._timing.now())
        except Unreadable:
            self._inbox.put_unreadable()
        else:
            if event is not None:
                self._inbox.put(event)
                if isinstance(event.payload, Telemetry):
                    self._gather()
                    return
        self._wake.set()

    def _gather(self) -> None:
        """Show telemetry together, a while after the first of it came."""
        if self._inbox.telemetry_waits >= PART:
            self._fleet = reduce_all(self._fleet, self._inbox.take_telemetry())
        if not self._gathering:
            self._gathering = True
            wait = self._timing.telemetry_interval_s
            asyncio.get_running_loop().call_later(wait, self._show_gathered)

    def _show_gathered(self) -> None:
        self._gathering, self._gathered = False, True
        self._fleet = reduce_all(self._fleet, self._inbox.take_telemetry())
        self._wake.set()

    async def _wait_to_retry(self, attempts: int, problem: str) -> None:
        now = self._timing.now()
        delay = self._delay(attempts)
        link = self.view.link
        broken = link.state is LinkState.LIVE
        self._set_link(
            replace(
                link,
                state=LinkState.STALE if self.view.fleet.queen else LinkState.CONNECTING,
                since=now if broken else link.since,
                retry_at=now + delay,
                attempts=attempts,
                problem=problem,
            )
        )
        self._retry_now.clear()
        try:
            async with asyncio.timeout(delay):
                await self._retry_now.wait()
        except TimeoutError:
            return

    def _delay(self, attempts: int) -> float:
        """Backoff with jitter, so that a returning queen is not met by all at once."""
        longest = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(attempts - 1, 10))
        return float(longest * (0.5 + 0.5 * self._timing.jitter()))

    def _set_link(self, link: Link) -> None:
        self.view = replace(self.view, link=link)
        self._wake.set()

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.flush()
            await asyncio.sleep(self._timing.flush_interval_s)

    def flush(self) -> None:
        """Apply what waits and publish the view."""
        now = self._timing.now()
        batch = self._inbox.take()
        if batch.events:
            self._fleet = reduce_all(self._fleet, batch.events)
        self._fleet = count_unreadable(self._fleet, batch.unreadable)
        news = self._gathered or batch.events or batch.unreadable
        self._gathered = False
        fleet = self._fleet if news else self.view.fleet
        streams = self.view.streams
        if batch.chunks:
            streams = apply_chunks(streams, batch.chunks, now=now)
        if batch.text_dropped:
            streams = replace(streams, dropped_here=streams.dropped_here + batch.text_dropped)
        if batch.events:
            streams = settle(streams, fleet.tasks, now=now)
        self.view = replace(self.view, fleet=fleet, streams=streams, now=now)
        self._publish(self.view)
