"""What a hive tells its readers: a snapshot first, then every change, telemetry each second.

Queue policy: a reader that is more than `LIMIT` events behind is disconnected; it comes back and
begins with a snapshot, so nothing is lost and nothing grows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from rbee_agent.contracts.base import Contract
from rbee_agent.wire.sse import encode

LIMIT = 1000


class HiveFeed:
    """Fans events out to any number of readers."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[bytes | None]] = set()

    def publish(self, event: str, value: Contract | dict[str, object]) -> None:
        """Tell everybody."""
        if not self._readers:
            return
        text = value.dump_json() if isinstance(value, Contract) else json.dumps(value)
        chunk = encode(text, event=event)
        for queue in list(self._readers):
            if queue.full():
                self._readers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(chunk)

    def narrate(self, text: str, *, level: str = "info", about: str | None = None) -> None:
        """Say in words what happened."""
        self.publish("narration", {"text": text, "level": level, "about": about})

    async def read(self, snapshot: Callable[[], Awaitable[Contract]]) -> AsyncIterator[bytes]:
        """The snapshot, then all that was published since it was asked for."""
        with self._reader() as queue:
            yield encode((await snapshot()).dump_json(), event="snapshot")
            while (chunk := await queue.get()) is not None:
                yield chunk

    @contextmanager
    def _reader(self) -> Iterator[asyncio.Queue[bytes | None]]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(LIMIT)
        self._readers.add(queue)
        try:
            yield queue
        finally:
            self._readers.discard(queue)
