"""From the engine's thread to the event loop: one wake-up a step, whatever the number of streams.

The engine's thread appends what it made; the loop's side turns it into frames. The two meet in a
deque, whose appends and pops are atomic, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rbee_agent.contracts.frames import AcceptedFrame, EndFrame, ErrorFrame, Phase
from rbee_agent.engine.tools import pieces as tools
from rbee_agent.errors import RbeeError, Unavailable
from rbee_agent.wire.frames import call_part, pieces_frame, text_part, token_frame
from rbee_agent.wire.sse import encode

MAX_WAITING = 16_384
"""Pieces a reader may lag behind before its stream is ended: the batch waits for nobody."""

Piece = tuple[str, tuple[Any, ...]]
"""What the engine said: the kind of frame and its values."""


class Bridge:
    """Collects which streams have news during a step and wakes the loop once for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: deque[JobStream] = deque()

    def mark(self, stream: JobStream) -> None:
        """Engine thread: `stream` has news for the next flush."""
        self._dirty.append(stream)

    def flush(self) -> None:
        """Engine thread, at the end of each step: deliver what was marked."""
        if self._dirty and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._dirty:
            self._dirty.popleft().wake()


class JobStream:
    """The engine's sink for one job and the frames that its reader gets.

    Written by the engine's thread, read by one coroutine.
    """

    def __init__(self, job_id: str, bridge: Bridge, *, give_up: Callable[[str], object]) -> None:
        """Make the stream of one job; `give_up` is called with its id when the reader lags."""
        self.job_id = job_id
        self.phase: Phase = "queued"
        self.done = 0
        self.total = 0
        self.ended = False
        self._lost = False
        self._bridge = bridge
        self._give_up = give_up
        self._pieces: deque[Piece] = deque()
        self._news = asyncio.Event()

    def accepted(self, tokens_in: int, prompt_ids_sha256: str | None = None) -> None:
        """The request is sound; `tokens_in` prompt tokens will be read."""
        self._push("accepted", tokens_in, prompt_ids_sha256)

    def token(
        self,
        text: str,
        index: int,
        ids: list[int],
        logprobs: list[dict[str, Any]] | None = None,
        channel: str | None = None,
    ) -> None:
        """Text made of `ids`, the last of which is the token number `index`."""
        self._push("token", index, text, ids, logprobs, channel)

    def pieces(self, pieces: Sequence[tools.Piece], index: int, ids: list[int]) -> None:
        """Pieces of tool calls, or text of several channels, that were all made of `ids`."""
        self._push("pieces", index, [_part(piece) for piece in pieces], ids)

    def result(self, data: list[dict[str, Any]]) -> None:
        """The answer to embedding or rerank."""
        self._push("result", data)

    def progress(self, phase: Phase, done: int, total: int) -> None:
        """How far reading the prompt is; shown in the next ping."""
        self.phase, self.done, self.total = phase, done, total

    def end(self, frame: EndFrame) -> None:
        """The good end."""
        self._push("end", frame)

    def error(self, error: RbeeError) -> None:
        """The bad end."""
        self._push("error", error)

    def wake(self) -> None:
        """Loop: there is something to read."""
        self._news.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for news at most `timeout` seconds; False where there were none."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def drain(self) -> list[Piece]:
        """All pieces that are there; sets `ended` behind the last one of the stream."""
        pieces: list[Piece] = []
        while self._pieces:
            pieces.append(self._pieces.popleft())
        self.ended = self.ended or bool(pieces and pieces[-1][0] in ("end", "error"))
        return pieces

    def take(self) -> bytes:
        """All frames that are there, as one run of SSE bytes."""
        return b"".join(_encoded(self.job_id, kind, values) for kind, values in self.drain())

    def _push(self, kind: str, *values: Any) -> None:
        if self._lost:
            return
        if len(self._pieces) >= MAX_WAITING:
            self._lost = True
            kind, values = "error", (_too_slow(self.job_id),)
            self._give_up(self.job_id)
        self._pieces.append((kind, values))
        self._bridge.mark(self)


def _encoded(job_id: str, kind: str, values: tuple[Any, ...]) -> bytes:
    if kind == "pieces":
        kind, data = pieces_frame(*values)
        return encode(data, event=kind)
    return encode(_frame(job_id, kind, values), event=kind)


def _part(piece: tools.Piece) -> dict[str, Any]:
    if isinstance(piece, tools.Text):
        return text_part(piece.text, piece.channel)
    return call_part(piece.number, piece.id, piece.name, piece.arguments)


def _frame(job_id: str, kind: str, values: tuple[Any, ...]) -> str:
    if kind == "token":
        index, text, ids, logprobs, channel = values
        return token_frame(index, text, ids, logprobs=logprobs, channel=channel)
    if kind == "accepted":
        return AcceptedFrame(
            job_id=job_id, tokens_in=values[0], prompt_ids_sha256=values[1]
        ).dump_json()
    if kind == "result":
        return json.dumps({"type": "result", "data": values[0]}, separators=(",", ":"))
    if kind == "end":
        frame: EndFrame = values[0]
        return frame.dump_json()
    error: RbeeError = values[0]
    return ErrorFrame(
        code=error.code,
        message=error.message,
        retriable=error.retriable,
        retry_after_ms=error.retry_after_ms,
        details=error.details,
    ).dump_json()


def _too_slow(job_id: str) -> RbeeError:
    return Unavailable(
        f"the reader of {job_id} is {MAX_WAITING} frames behind", code="WORKER_RESET"
    )
