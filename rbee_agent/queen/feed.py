"""``GET /v2/events``: every change of the fleet, in order, resumable from a bounded ring.

Changes of one entity within a few milliseconds become one. A reader whose buffer fills is cut off
and comes back with its last id: memory never grows with a reader's slowness.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal

from rbee_agent.contracts.events import Narration
from rbee_agent.runtime.clock import Clock
from rbee_agent.wire.sse import encode

RING = 8192
READER_MAX = 4096
"""Events a reader may lag behind before it is cut off."""
COALESCE_S = 0.03
NARRATION_KEPT = 200
FORGET_S = 60.0
"""So long after the last reader left, changes are still kept for its return."""

Source = Callable[[str], dict[str, Any] | None]
"""An entity as it is now, by id; None when it is gone."""


class Feed:
    """The queen's event feed. Everything here is synchronous but the reading."""

    def __init__(self, clock: Clock, epoch: str) -> None:
        self.epoch = epoch
        self.seq = 0
        self.narration: deque[Narration] = deque(maxlen=NARRATION_KEPT)
        self.readers = 0
        self._clock = clock
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=RING)
        self._sources: dict[str, Source] = {}
        self._dirty: dict[tuple[str, str], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False
        self._last_reader = clock.monotonic() - FORGET_S

    def source(self, noun: str, source: Source) -> None:
        """Say where entities of a noun are looked up when their change is told."""
        self._sources[noun] = source

    def changed(self, noun: str, id: str) -> None:
        """Note that an entity changed; its state is told within a few milliseconds."""
        self._dirty[(noun, id)] = None
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(COALESCE_S, self.flush)

    def flush(self) -> None:
        """Tell what has changed now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dirty, self._dirty = self._dirty, {}
        if not self._followed():
            # Nobody to tell, and nobody left lately who could come back: a snapshot will do.
            self.seq += len(dirty)
            self._ring.clear()
            return
        at = self._clock.utc()
        for noun, entity in dirty:
            value = self._sources[noun](entity)
            self.seq += 1
            change: dict[str, Any] = {
                "seq": self.seq,
                "at": at,
                "noun": noun,
                "id": entity,
                "op": "delete" if value is None else "put",
            }
            if value is not None:
                change["value"] = value
            self._publish("change", json.dumps(change, separators=(",", ":")))

    def narrate(
        self,
        text: str,
        *,
        actor: str = "queen",
        level: Literal["info", "warning", "error"] = "info",
        noun: str | None = None,
        id: str | None = None,
    ) -> None:
        """Tell in words what happened, behind the changes that it follows from."""
        self.flush()
        self.seq += 1
        item = Narration.model_construct(
            seq=self.seq,
            at=self._clock.utc(),
            level=level,
            actor=actor,
            text=text,
            noun=noun,
            id=id,
        )
        self.narration.append(item)
        self._publish("narration", item.dump_json())

    def _followed(self) -> bool:
        return bool(self._queues) or self._clock.monotonic() - self._last_reader < FORGET_S

    def telemetry(self, data: str) -> None:
        """Pass a host's telemetry on; lossy, and never part of the ring."""
        chunk = encode(data, event="telemetry")
        for queue in self._queues:
            if queue.qsize() < READER_MAX // 2:
                queue.put_nowait(chunk)

    def close(self) -> None:
        """End all readers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._queues:
            _cut(queue)

    async def read(
        self, snapshot: Callable[[], str], *, after: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """SSE bytes: what follows `after` where the ring still holds it, else a snapshot first.

        The generator ends when the reader was too slow (or the queen ends): it should come back.
        """
        self.flush()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        first = self._since(after)
        if first is None:
            first = encode(snapshot(), event="snapshot", id=f"{self.epoch}-{self.seq}")
        self._queues.add(queue)
        try:
            if first:
                yield first
            while not self._closed:
                chunk = await queue.get()
                chunks = [chunk]
                while not queue.empty():
                    chunks.append(queue.get_nowait())
                whole = [part for part in chunks if part is not None]
                if whole:
                    yield b"".join(whole)
                if len(whole) != len(chunks):
                    return
        finally:
            self._queues.discard(queue)
            self._last_reader = self._clock.monotonic()

    def _since(self, after: str | None) -> bytes | None:
        """What the ring holds behind an id; None where it cannot tell."""
        epoch, _, number = (after or "").rpartition("-")
        if epoch != self.epoch or not number.isdigit():
            return None
        seen = int(number)
        if seen > self.seq or (self._ring and seen < self._ring[0][0] - 1):
            return None
        if not self._ring and seen != self.seq:
            return None
        if self._ring and self._ring[-1][0] != self.seq:
            return None
        return b"".join(chunk for seq, chunk in self._ring if seq > seen)

    def _publish(self, event: str, data: str) -> None:
        chunk = encode(data, event=event, id=f"{self.epoch}-{self.seq}")
        self._ring.append((self.seq, chunk))
        for queue in list(self._queues):
            if queue.qsize() >= READER_MAX:
                self._queues.discard(queue)
                _cut(queue)
            else:
                queue.put_nowait(chunk)


def _cut(queue: asyncio.Queue[bytes | None]) -> None:
    """Let the reader have what waits, then end."""
    queue.put_nowait(None)
