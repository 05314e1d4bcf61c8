"""Calls of the request-shaped APIs: tasks handed in and read in one HTTP request.

Whatever API the caller speaks, its way is the same: the request becomes one or several tasks, they
pass the admission that `/v2/tasks` has, the headers wait a moment for a worker to accept them, then
their frames are translated as they come. A caller who hangs up cancels them at once.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from aiohttp import web

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.routes import (
    DETERMINISM_HEADER,
    OVERHEAD_HEADER,
    PING_INTERVAL_S,
    QUEUE_HEADER,
    REQUEST_ID_HEADER,
    SESSION_HEADER,
    SSE_CONTENT_TYPE,
)
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import InvalidParams, RbeeError, from_body
from rbee_agent.http.sse import SseWriter
from rbee_agent.queen.api.routes import arrived_of, queen_of, who_of
from rbee_agent.queen.service import Queen
from rbee_agent.queen.stream import ClientFrame
from rbee_agent.queen.task import Task
from rbee_agent.wire.sse import PING

HOLD_S = 2.0
"""How long the headers wait for a worker to accept, so that its refusal is an HTTP error."""
SAMPLE = 8
"""One write in so many is measured for router_overhead_seconds."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, made of so many tokens."""

    text: str
    tokens: int = 1
    reasoning: bool = False
    """It is the model's thinking, not its answer."""
    logprobs: list[dict[str, Any]] | None = None
    """As `lp` of a token frame."""


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A piece of the tool call number `call`; id and name come with its first piece."""

    call: int
    id: str | None
    name: str | None
    arguments: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Data:
    """What embedding and rerank answer."""

    data: list[dict[str, Any]]


Piece = Text | ToolCallPart | Data | EndFrame
Batch = list[tuple[int, Piece]]
"""Pieces that came together, each with the place of its task among those handed in."""


class Translator(Protocol):
    """Says one answer in the words of one API, as a stream."""

    content_type: str
    ping: bytes | None
    """What is said after 15 s of silence."""

    def begin(self) -> bytes:
        """What stands before the first piece."""

    def piece(self, place: int, piece: Piece, /) -> bytes:
        """One piece; empty where this API has nothing to say of it."""

    def finish(self) -> bytes:
        """What stands behind the last piece of a whole answer."""

    def failure(self, error: RbeeError) -> bytes:
        """How a stream ends that failed in its middle."""


class SseTranslator:
    """What the translators of event streams share."""

    content_type = SSE_CONTENT_TYPE
    ping: bytes | None = PING


@dataclass(slots=True)
class Answer:
    """The tasks of one call, and what comes of them. Made by :func:`answering`."""

    queen: Queen
    arrived: float
    """Monotonic time at which the request came."""
    tasks: list[Task] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The id of the first task: what `rbee task explain` takes."""
        return self.tasks[0].job_id

    @property
    def created(self) -> int:
        """Unix seconds."""
        return int(self.tasks[0].created_at)

    async def accepted(self, within: float = HOLD_S) -> None:
        """Wait until workers have accepted all tasks, at most `within` seconds.

        Raises:
            RbeeError: one of them has failed already.
        """
        waits = [asyncio.ensure_future(task.taken.wait()) for task in self.tasks]
        try:
            await asyncio.wait(waits, timeout=within)
        finally:
            for wait in waits:
                wait.cancel()
        for task in self.tasks:
            if task.error is not None:
                raise task.error

    def headers(self, ready: float) -> dict[str, str]:
        """The reply headers of every such API.

        Args:
            ready: monotonic time from which on the queen alone kept the answer waiting.
        """
        now = self.queen.clock.monotonic()
        first = self.tasks[0]
        placed = [task.placed or now for task in self.tasks]
        queue = max(0.0, max(placed) - first.accepted)
        overhead = max(0.0, first.accepted - self.arrived) + max(0.0, now - ready)
        return {
            REQUEST_ID_HEADER: self.id,
            QUEUE_HEADER: str(round(queue * 1000)),
            OVERHEAD_HEADER: f"{overhead * 1000:.1f}",
        }

    async def pieces(self) -> AsyncGenerator[Batch]:
        """The pieces of all tasks as they come, to the last end.

        Raises:
            RbeeError: a task failed.
        """
        last = [-1] * len(self.tasks)
        async with aclosing(self._frames()) as frames:
            async for place, batch in frames:
                found: Batch = []
                for frame in batch:
                    for piece, reached in pieces_of(frame, last[place]):
                        last[place] = reached
                        found.append((place, piece))
                if found:
                    yield found

    async def whole(self) -> list[list[Piece]]:
        """All pieces of each task, when the last of them has ended.

        Raises:
            RbeeError: a task failed.
        """
        found: list[list[Piece]] = [[] for _ in self.tasks]
        async with aclosing(self.pieces()) as batches:
            async for batch in batches:
                for place, piece in batch:
                    found[place].append(piece)
        return found

    async def _frames(self) -> AsyncGenerator[tuple[int, list[ClientFrame]]]:
        """The frames of all tasks as they come, each batch with the place of its task."""
        if len(self.tasks) == 1:
            async with aclosing(self.queen.frames(self.tasks[0])) as batches:
                async for batch in batches:
                    yield 0, batch
            return
        readers = [self.queen.frames(task) for task in self.tasks]
        waits = {asyncio.ensure_future(anext(reader)): at for at, reader in enumerate(readers)}
        try:
            while waits:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for place, wait in sorted((waits.pop(wait), wait) for wait in done):
                    if isinstance(wait.exception(), StopAsyncIteration):
                        continue
                    batch = wait.result()
                    waits[asyncio.ensure_future(anext(readers[place]))] = place
                    yield place, batch
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            for reader in readers:
                await reader.aclose()


@asynccontextmanager
async def answering(request: web.Request, wanted: Sequence[TaskRequest]) -> AsyncIterator[Answer]:
    """Hand in the tasks of one call; those that have not ended are cancelled on leaving.

    Raises:
        RbeeError: one was refused; none of them runs on then.
    """
    queen, who = queen_of(request), who_of(request)
    answer = Answer(queen, arrived_of(request))
    async with AsyncExitStack() as leaving:
        for one in wanted:
            task, frames = await queen.submit(one, who)
            await frames.aclose()
            leaving.callback(queen.abandon, task)
            answer.tasks.append(task)
        yield answer


async def send_stream(
    request: web.Request, answer: Answer, translator: Translator
) -> web.StreamResponse:
    """Hold the headers until the tasks are accepted, then stream them through `translator`.

    Raises:
        RbeeError: a task failed before the headers were sent; after that it is said in the stream.
    """
    await answer.accepted()
    queen = answer.queen
    writer = SseWriter(
        request,
        ping=translator.ping,
        ping_interval=PING_INTERVAL_S,
        content_type=translator.content_type,
        headers=answer.headers(queen.clock.monotonic()),
    )
    async with writer:
        await writer.write(translator.begin())
        try:
            async with aclosing(answer.pieces()) as batches:
                written = 0
                async for batch in batches:
                    chunk = b"".join([translator.piece(place, piece) for place, piece in batch])
                    if not chunk:
                        continue
                    await writer.write(chunk)
                    written += 1
                    if written % SAMPLE == 0:
                        arrived = answer.tasks[batch[-1][0]].stream.arrived
                        overhead = queen.clock.monotonic() - arrived
                        queen.metrics.overhead_seconds.observe(overhead)
            await writer.write(translator.finish())
        except RbeeError as error:
            await writer.write(translator.failure(error))
    return writer.response


def wishes(request: web.Request, *sessions: str | None) -> dict[str, Any]:
    """Task fields that callers of any API may give by header.

    Args:
        request: whose headers are looked at.
        sessions: what the body may name as the session; `X-Session-ID` goes first.

    Raises:
        InvalidParams: a determinism that there is not.
    """
    found: dict[str, Any] = {}
    determinism = request.headers.get(DETERMINISM_HEADER)
    if determinism is not None:
        if determinism not in ("strict", "best_effort"):
            raise violation(DETERMINISM_HEADER, "must be strict or best_effort")
        found["determinism"] = determinism
    session = request.headers.get(SESSION_HEADER)
    named = next((name for name in sessions if name), None)
    if session is not None:
        found["session_id"] = session
    elif named is not None:
        found["session_id"] = session_named(named, who_of(request).id)
    return found


def session_named(name: str, owner: str) -> str:
    """The session that a free text means; the same text of two keys means two sessions."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:40]
    return f"{readable}-{sha256(f'{owner} {name}'.encode()).hexdigest()[:12]}"


def violation(field: str, message: str) -> InvalidParams:
    """The refusal of one field."""
    return InvalidParams([{"field": field, "constraint": "value", "message": message}])


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as an object; what the model wrote instead of one under a name of ours.

    Under a grammar they always are one; without it a model may write anything, and it shall reach
    the caller as it is rather than fail the answer.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {"invalid_json": text}
    return found if isinstance(found, dict) else {"invalid_json": text}


def pieces_of(frame: ClientFrame, last: int) -> Iterable[tuple[Piece, int]]:
    """The typed pieces of a frame, each with the index of its last token.

    Args:
        frame: as a reader of the task gets it.
        last: the index that was reached before it.

    Raises:
        RbeeError: it is an error frame.
    """
    if frame.event in ("token", "tool_call"):
        value = json.loads(frame.data)
        for part in value.get("batch") or (value,):
            # What the same tokens made stands in one batch, text and calls.
            index = part["i"]
            yield _made(part, index - last), index
            last = index
    elif frame.event == "result":
        yield Data(json.loads(frame.data)["data"]), last
    elif frame.event == "end":
        yield EndFrame.read_json(frame.data), last
    elif frame.event == "error":
        raise from_body({"error": json.loads(frame.data)})


def _made(part: dict[str, Any], tokens: int) -> Text | ToolCallPart:
    if "t" in part:
        return Text(part["t"], tokens, part.get("channel") == "reasoning", part.get("lp"))
    delta = part.get("arguments_delta", "")
    return ToolCallPart(part["index"], part.get("id"), part.get("name"), delta, tokens)
