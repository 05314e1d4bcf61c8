"""The live feed: connects, follows, says when it is stale, comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rbee_agent.contracts.events import Change, FleetSnapshot, QueenInfo, TapChunk, TapStream
from rbee_agent.contracts.nodes import NodeInfo, NodeState, Telemetry
from rbee_agent.errors import Refused, Unreachable
from rbee_agent.wire.sse import ServerEvent
from rbee_tui.feed import live as live_module
from rbee_tui.feed.live import PART, LiveFeed, Timing
from rbee_tui.state.link import LinkState
from rbee_tui.state.view import View

SNAPSHOT = FleetSnapshot(
    seq=1, at=1000.0, queen=QueenInfo(version="1", started_at=0.0, epoch="e")
).dump_json()


class Source:
    """A queen's two streams, fed by the test; an exception put in is raised out."""

    def __init__(self) -> None:
        self.fleet: asyncio.Queue[ServerEvent | Exception | None] = asyncio.Queue()
        self.taps: asyncio.Queue[ServerEvent | Exception | None] = asyncio.Queue()
        self.connects = 0

    async def events(
        self, last_event_id: str | None = None, *, reconnect: float = 30.0
    ) -> AsyncGenerator[ServerEvent, None]:
        assert reconnect == 0, "a break that the client hides would be stale data shown as live"
        self.connects += 1
        while (item := await self.fleet.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def tap(self, *, reconnect: float = 30.0) -> AsyncGenerator[ServerEvent, None]:
        while (item := await self.taps.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


class Watcher:
    """Collects views; tests wait for one that has what they look for."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self._came = asyncio.Event()

    def publish(self, view: View) -> None:
        self.views.append(view)
        self._came.set()

    async def until(self, wanted: Callable[[View], bool]) -> View:
        async with asyncio.timeout(5):
            while not (self.views and wanted(self.views[-1])):
                self._came.clear()
                await self._came.wait()
        return self.views[-1]


@asynccontextmanager
async def running(source: Source, *, flush: float = 0.0) -> AsyncIterator[tuple[LiveFeed, Watcher]]:
    watcher = Watcher()
    timing = Timing(now=lambda: 500.0, flush_interval_s=flush, jitter=lambda: 0.0)
    feed = LiveFeed(source, watcher.publish, timing, url="http://q")
    task = asyncio.create_task(feed.run())
    try:
        yield feed, watcher
    finally:
        task.cancel()
        await asyncio.wait([task])


def change(seq: int, id: str) -> ServerEvent:
    value = {"id": id, "model": "m", "state": "ready"}
    body = Change(seq=seq, at=1.0, noun="worker", id=id, op="put", value=value)
    return ServerEvent("change", body.dump_json(), f"e-{seq}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff without waiting."""
    monkeypatch.setattr(live_module, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(live_module, "BACKOFF_MOST_S", 0.02)


async def test_it_is_live_with_the_first_message() -> None:
    """Connecting until the queen speaks, live from then on."""
    source = Source()
    async with running(source) as (feed, watcher):
        assert feed.view.link.state is LinkState.CONNECTING
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        source.fleet.put_nowait(change(2, "w1"))
        view = await watcher.until(lambda v: "w1" in v.fleet.workers)

    assert view.link.live


async def test_a_lost_queen_leaves_stale_data_and_comes_back() -> None:
    """After a break the fleet stays on view as stale; the new snapshot makes it live again."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        source.fleet.put_nowait(change(2, "w1"))
        await watcher.until(lambda v: "w1" in v.fleet.workers)
        source.fleet.put_nowait(Unreachable("gone"))
        stale = await watcher.until(lambda v: v.link.state is LinkState.STALE)
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        back = await watcher.until(lambda v: v.link.live)

    assert "w1" in stale.fleet.workers
    assert stale.link.problem == "gone"
    assert stale.link.retry_at is not None
    assert "w1" not in back.fleet.workers
    assert source.connects == 2


async def test_a_queen_that_ends_the_feed_is_asked_again() -> None:
    """An orderly end of the stream is a break as well."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        await watcher.until(lambda v: v.link.live)
        source.fleet.put_nowait(None)
        view = await watcher.until(lambda v: v.link.state is LinkState.STALE)

    assert "ended" in (view.link.problem or "")


async def test_a_refused_key_says_what_to_check() -> None:
    """A wrong token is shown as what it is, and tried again (it may be mended meanwhile)."""
    source = Source()
    source.fleet.put_nowait(Refused("the key is not known", code="BAD_TOKEN"))
    async with running(source) as (_, watcher):
        view = await watcher.until(lambda v: v.link.attempts > 0)

    assert "token" in (view.link.problem or "")
    assert view.link.state is LinkState.CONNECTING


async def test_a_burst_is_one_view() -> None:
    """However many messages come at once, they are published together."""
    source = Source()
    for seq in range(2, 302):
        source.fleet.put_nowait(change(seq, f"w{seq}"))
    source.taps.put_nowait(_tap("hello"))
    async with running(source, flush=0.05) as (_, watcher):
        await watcher.until(lambda v: len(v.fleet.workers) == 300)

    assert len(watcher.views) <= 3


async def test_the_tap_fills_the_streams_and_breaks_quietly() -> None:
    """The tap comes back by itself and does not make the feed stale."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        source.taps.put_nowait(_tap("one "))
        source.taps.put_nowait(Unreachable("gone"))
        source.taps.put_nowait(_tap("two"))
        view = await watcher.until(
            lambda v: "j" in v.streams.by_job and v.streams.by_job["j"].text == "one two"
        )

    assert view.link.live


async def test_an_unreadable_message_is_counted_and_passed_over() -> None:
    """One broken message does not end the feed."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        source.fleet.put_nowait(ServerEvent("change", "{broken", "e-2"))
        source.fleet.put_nowait(change(3, "w3"))
        view = await watcher.until(lambda v: "w3" in v.fleet.workers)

    assert view.fleet.unreadable == 1


async def test_an_operator_need_not_wait_out_the_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """`retry` connects at once."""
    monkeypatch.setattr(live_module, "BACKOFF_FIRST_S", 1000.0)
    monkeypatch.setattr(live_module, "BACKOFF_MOST_S", 1000.0)
    source = Source()
    async with running(source) as (feed, watcher):
        source.fleet.put_nowait(Unreachable("gone"))
        await watcher.until(lambda v: v.link.attempts == 1)
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        feed.retry()
        await watcher.until(lambda v: v.link.live)


async def test_nothing_new_publishes_nothing() -> None:
    """A quiet feed makes no work: the flush waits for an event, not for a clock."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        await watcher.until(lambda v: v.link.live)
        await asyncio.sleep(0.02)
        count = len(watcher.views)
        await asyncio.sleep(0.1)

    assert count == len(watcher.views)


def _tap(text: str) -> ServerEvent:
    part = TapStream(job_id="j", model="m", tokens_out=1, text=text)
    return ServerEvent("tap", TapChunk(at=1.0, streams=[part]).dump_json())


async def test_telemetry_is_gathered_and_changes_are_not_held_back() -> None:
    """A change is seen at once, in front of telemetry that came before it; that is seen soon."""
    source = Source()
    node = NodeInfo(id="n1", state=NodeState.ONLINE)
    snapshot = FleetSnapshot.read_json(SNAPSHOT).model_copy(update={"nodes": [node]}).dump_json()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", snapshot, "e-1"))
        await watcher.until(lambda v: v.link.live and bool(v.fleet.nodes))
        load = Telemetry(node_id="n1", at=1001.0, load_1m=7.0).dump_json()
        source.fleet.put_nowait(ServerEvent("telemetry", load))
        source.fleet.put_nowait(change(2, "w1"))
        first = await watcher.until(lambda v: "w1" in v.fleet.workers)
        then = await watcher.until(lambda v: v.fleet.nodes["n1"].load_1m == 7.0)

    assert first.fleet.nodes["n1"].load_1m is None
    assert "w1" in then.fleet.workers


async def test_telemetry_of_many_hosts_is_shown_whole_and_no_change_undoes_it() -> None:
    """What was taken in by parts is seen together; a change that came between is in it, too."""
    source = Source()
    names = [f"n{at}" for at in range(5 * PART)]
    nodes = [NodeInfo(id=name, state=NodeState.ONLINE) for name in names]
    snapshot = FleetSnapshot.read_json(SNAPSHOT).model_copy(update={"nodes": nodes}).dump_json()
    async with running(source) as (feed, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", snapshot, "e-1"))
        await watcher.until(lambda v: v.link.live and len(v.fleet.nodes) == len(names))
        before = feed.view.fleet
        for name in names:
            load = Telemetry(node_id=name, at=1001.0, load_1m=7.0).dump_json()
            source.fleet.put_nowait(ServerEvent("telemetry", load))
        await watcher.until(lambda v: all(n.load_1m == 7.0 for n in v.fleet.nodes.values()))
        source.fleet.put_nowait(change(2, "w1"))
        then = await watcher.until(lambda v: "w1" in v.fleet.workers)

    assert all(node.load_1m is None for node in before.nodes.values())
    assert all(node.load_1m == 7.0 for node in then.fleet.nodes.values())


async def test_text_alone_leaves_the_fleet_as_it_was() -> None:
    """Tokens come ten times a second; a table whose fleet is the same object draws nothing."""
    source = Source()
    async with running(source) as (_, watcher):
        source.fleet.put_nowait(ServerEvent("snapshot", SNAPSHOT, "e-1"))
        first = await watcher.until(lambda v: v.link.live)
        source.taps.put_nowait(_tap("hello"))
        then = await watcher.until(lambda v: "j" in v.streams.by_job)

    assert then.fleet is first.fleet
