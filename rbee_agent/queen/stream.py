"""What one task has said so far, and its readers: one log, written by the relay, read by many.

Durable frames (token, tool_call, result, and the last one) stand in the log with their index; what
is interleaved (metrics, narration) stands there too, but is not said again to a reader who comes
back. A reader that lags gets several token frames merged into one: nothing is dropped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import NamedTuple

from rbee_agent.wire.frames import batch

LAST_ID = "end"
"""The SSE id of a stream's last frame, be it ``end`` or ``error``."""
MERGE_MAX = 256
"""Most token frames in one merged frame."""
_DURABLE = frozenset({"token", "tool_call", "result"})
_LAST = frozenset({"end", "error"})
_HIDDEN = frozenset({"narration"})
_PASSING = frozenset({"metrics", "queued", "narration"})


class ClientFrame(NamedTuple):
    """One frame as a caller gets it; `data` is JSON that repeats its type."""

    event: str
    data: str
    id: str | None = None


class _Entry(NamedTuple):
    event: str
    last: int
    """Index of the last token; -1 for what is not durable."""
    data: str


class TaskStream:
    """The log of one task. Appending is synchronous; reading is an async generator per reader."""

    __slots__ = ("_entries", "_waiters", "arrived", "ended", "last_index", "readers", "started")

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._waiters: list[asyncio.Future[None]] = []
        self.last_index = -1
        self.arrived = 0.0
        """Monotonic time at which the newest durable frame came from its worker."""
        self.started = False
        self.ended = False
        self.readers = 0
        """How many read it now; watchers of the tap do not count."""

    def __len__(self) -> int:
        """Entries so far."""
        return len(self._entries)

    def durable(self, event: str, frames: list[tuple[int, str]]) -> None:
        """Append frames of one kind with the indices of their last tokens."""
        self._entries.extend([_Entry(event, index, data) for index, data in frames])
        self.last_index = frames[-1][0]
        self._wake()

    def aside(self, event: str, data: str) -> None:
        """Append something that is not durable."""
        if self.ended:
            return
        self.started = self.started or event == "started"
        self._entries.append(_Entry(event, -1, data))
        self._wake()

    def finish(self, event: str, data: str) -> None:
        """Append the last frame; nothing comes after it."""
        if not self.ended:
            self._entries.append(_Entry(event, -1, data))
            self.ended = True
            self._wake()

    def tokens_since(self, position: int) -> tuple[int, list[str]]:
        """Token frames behind a position of the log, and the position reached: for the tap."""
        fresh = self._entries[position:]
        return len(self._entries), [entry.data for entry in fresh if entry.event == "token"]

    def last_frame(self) -> str | None:
        """The data of ``end`` or ``error``, once it is there."""
        return self._entries[-1].data if self.ended else None

    async def read(
        self, *, after: str | None = None, verbose: bool = False
    ) -> AsyncGenerator[list[ClientFrame], bool | None]:
        """The frames from the start, or behind the id `after`, to the end, as they come.

        Each step gives all frames that are there together. A reader that sends True into the
        generator says that it lags: what waits is merged.

        Args:
            after: the last id that this reader has; one we do not know counts as none.
            verbose: narration too.
        """
        position = self._position(after)
        lags: bool | None = False
        hidden = frozenset[str]() if verbose else _HIDDEN
        fresh_reader = after is None
        replay_until = len(self._entries)
        while True:
            if position == len(self._entries):
                if self.ended:
                    return
                await self._wait()
                continue
            if position == len(self._entries) - 1 and position >= replay_until:
                # The usual case: one token more.
                entry = self._entries[position]
                position += 1
                if entry.event not in hidden:
                    lags = yield [_frame(entry)]
                continue
            entries = self._entries[position:]
            replayed = max(0, replay_until - position)
            position = len(self._entries)
            shown = [
                entry
                for place, entry in enumerate(entries)
                if entry.event not in hidden
                and not (
                    place < replayed
                    and (entry.event == "metrics" or self._stale(entry, entries, place))
                )
                and not (not fresh_reader and entry.event == "started" and place < replayed)
            ]
            if shown:
                lags = yield _frames(shown, merge=bool(lags))

    @staticmethod
    def _stale(entry: _Entry, entries: list[_Entry], place: int) -> bool:
        """A place in the queue that was told again later."""
        return entry.event == "queued" and any(
            later.event == "queued" for later in entries[place + 1 :]
        )

    def _position(self, after: str | None) -> int:
        """The entry behind the one that has the id `after`."""
        if after is None:
            return 0
        if after == LAST_ID:
            return len(self._entries) if self.ended else 0
        if not after.isdigit():
            return 0
        seen = int(after)
        for place in range(len(self._entries) - 1, -1, -1):
            if 0 <= self._entries[place].last <= seen:
                return place + 1
        return 0

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


def rebuilt(lines: list[str], *, started: str | None) -> TaskStream:
    """The stream that a journal, or a stored task, tells of; frames without their token ids."""
    from rbee_agent.wire.frames import index_of, without_ids

    stream = TaskStream()
    if started is not None:
        stream.aside("started", started)
    for line in lines:
        event = event_of(line)
        if event in _LAST:
            stream.finish(event, line)
        elif event == "result":
            stream.durable(event, [(0, line)])
        elif event in _DURABLE:
            stream.durable(event, [(index_of(line), without_ids(line))])
    return stream


def event_of(line: str) -> str:
    """The type that a frame's JSON repeats; ours stands first, a stranger's anywhere."""
    if line.startswith('{"type":"'):
        return line[9 : line.index('"', 9)]
    return str(json.loads(line).get("type", ""))


def _frames(entries: list[_Entry], *, merge: bool) -> list[ClientFrame]:
    if not merge:
        return [_frame(entry) for entry in entries]
    merged: list[ClientFrame] = []
    run: list[_Entry] = []
    for entry in entries:
        if entry.event == "token" and len(run) < MERGE_MAX:
            run.append(entry)
            continue
        _flush(run, merged)
        if entry.event == "token":
            run.append(entry)
        else:
            merged.append(_frame(entry))
    _flush(run, merged)
    return merged


def _flush(run: list[_Entry], into: list[ClientFrame]) -> None:
    if run:
        into.append(ClientFrame("token", batch([entry.data for entry in run]), str(run[-1].last)))
        run.clear()


def _frame(entry: _Entry) -> ClientFrame:
    if entry.last >= 0:
        return ClientFrame(entry.event, entry.data, str(entry.last))
    return ClientFrame(entry.event, entry.data, LAST_ID if entry.event in _LAST else None)
