"""Frames as types, and a whole answer gathered from them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.events import Change, FleetSnapshot, Narration
from rbee_agent.contracts.frames import (
    EndFrame,
    ErrorFrame,
    MetricsFrame,
    NarrationFrame,
    QueuedFrame,
    ResultFrame,
    StartedFrame,
    TokenFrame,
    ToolCallFrame,
)
from rbee_agent.contracts.nodes import Telemetry
from rbee_agent.errors import from_body
from rbee_agent.wire.sse import ServerEvent

Frame = (
    QueuedFrame
    | StartedFrame
    | TokenFrame
    | ToolCallFrame
    | ResultFrame
    | MetricsFrame
    | NarrationFrame
    | EndFrame
    | ErrorFrame
)

_TYPES: dict[str, type[Frame]] = {
    "queued": QueuedFrame,
    "started": StartedFrame,
    "token": TokenFrame,
    "tool_call": ToolCallFrame,
    "result": ResultFrame,
    "metrics": MetricsFrame,
    "narration": NarrationFrame,
    "end": EndFrame,
    "error": ErrorFrame,
}


def parse_frame(event: ServerEvent) -> list[Frame]:
    """The typed frames of one event: several for a micro-batch, none for a type of a newer queen.

    Raises:
        pydantic.ValidationError: a frame of a known type that lacks what it must have.
    """
    kind = _TYPES.get(event.event)
    if kind is None:
        return []
    data = json.loads(event.data)
    if isinstance(data, dict) and "batch" in data:
        return [_part(item) for item in data["batch"]]
    return [kind.read(data)]


FleetEvent = FleetSnapshot | Change | Telemetry | Narration

_FLEET_TYPES: dict[str, type[FleetEvent]] = {
    "snapshot": FleetSnapshot,
    "change": Change,
    "telemetry": Telemetry,
    "narration": Narration,
}


def parse_fleet_event(event: ServerEvent) -> FleetEvent | None:
    """One event of the fleet's feed as its type; None for a type of a newer queen."""
    kind = _FLEET_TYPES.get(event.event)
    return None if kind is None else kind.read_json(event.data)


def _part(item: dict[str, Any]) -> Frame:
    if "t" in item:
        return TokenFrame.read({"type": "token", **item})
    return ToolCallFrame.read({"type": "tool_call", **item})


def token_texts(event: ServerEvent) -> Iterator[tuple[str, str]]:
    """``(text, channel)`` of every token in a token event, without validating it."""
    yield from _texts(json.loads(event.data))


def _texts(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for item in data.get("batch", (data,)):
        if "t" in item:
            yield item["t"], item.get("channel") or "content"


@dataclass(slots=True)
class ToolCall:
    """A call that the model made, whole."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    """JSON, as the model wrote it."""

    def parsed(self) -> dict[str, Any]:
        """The arguments as an object.

        Raises:
            ValueError: the model wrote something else; under a grammar it cannot.
        """
        value = json.loads(self.arguments or "{}")
        if not isinstance(value, dict):
            raise ValueError("the arguments of a tool call are no JSON object")
        return value


@dataclass(frozen=True, slots=True)
class Ranked:
    """One input of a rerank task and how well it answers the query."""

    index: int
    """Its place among the inputs."""
    score: float


@dataclass(slots=True)
class Answer:
    """What a task said, whole."""

    job_id: str
    model: str
    worker_id: str | None = None
    text: str = ""
    reasoning: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    """What embedding and rerank answer, as sent; see `embeddings` and `ranking`."""
    tool_calls: list[ToolCall] = field(default_factory=list)
    end: EndFrame | None = None

    @property
    def embeddings(self) -> list[list[float]]:
        """The vectors of an embedding task, in the order of its inputs."""
        rows = sorted(self.results, key=lambda row: int(row["index"]))
        return [row["embedding"] for row in rows]

    @property
    def ranking(self) -> list[Ranked]:
        """The inputs of a rerank task, the best first."""
        rows = [Ranked(int(row["index"]), float(row["score"])) for row in self.results]
        return sorted(rows, key=lambda ranked: (-ranked.score, ranked.index))

    def take(self, event: ServerEvent) -> None:
        """Add one event.

        Raises:
            RbeeError: the event is the stream's ``error``.
        """
        data = json.loads(event.data)
        if event.event in ("token", "tool_call"):
            self._say(data)
        elif event.event == "started":
            self.worker_id, self.model = data["worker_id"], data["model"]
        elif event.event == "result":
            self.results.extend(data["data"])
        elif event.event == "end":
            self.end = EndFrame.read(data)
        elif event.event == "error":
            raise from_body({"error": data})

    def _say(self, data: dict[str, Any]) -> None:
        for text, channel in _texts(data):
            if channel == "reasoning":
                self.reasoning += text
            else:
                self.text += text
        for item in data.get("batch", (data,)):
            if "arguments_delta" in item:
                self._tool_call(item)

    def _tool_call(self, data: dict[str, Any]) -> None:
        while len(self.tool_calls) <= data["index"]:
            self.tool_calls.append(ToolCall())
        call = self.tool_calls[data["index"]]
        call.id = data.get("id") or call.id
        call.name = data.get("name") or call.name
        call.arguments += data.get("arguments_delta", "")


async def gather(answer: Answer, events: AsyncIterator[ServerEvent]) -> Answer:
    """Read a stream to its end into `answer`.

    Raises:
        RbeeError: the stream ended with an error.
    """
    async for event in events:
        answer.take(event)
    return answer
