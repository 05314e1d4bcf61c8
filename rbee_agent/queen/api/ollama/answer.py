"""Answers of /api/chat and /api/generate: lines of JSON, or one document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.call import Answer, Piece, Text, ToolCallPart, arguments_of
from rbee_agent.queen.api.ollama.refusals import sentence
from rbee_agent.queen.api.openai.logprobs import logprob
from rbee_agent.queen.api.openai.wire import dumps

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """How one request wants to be answered."""

    model: str
    """As the caller called it."""
    chat: bool
    thinking: bool = True
    """Whether the model's thinking is shown."""

    def head(self) -> dict[str, Any]:
        """What each line begins with."""
        return {"model": self.model, "created_at": now()}

    def said(self, content: str = "", **more: Any) -> dict[str, Any]:
        """What the model said, where this route has it."""
        if self.chat:
            return {"message": {"role": "assistant", "content": content, **more}}
        return {"response": content, **more}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def bill(answer: Answer, end: EndFrame) -> dict[str, Any]:
    """Why it ended, and what it took; nanoseconds."""
    task = answer.tasks[0]
    ended = answer.queen.clock.monotonic()
    placed = task.placed if task.placed is not None else ended
    return {
        "done_reason": "length" if end.finish_reason == "length" else "stop",
        "total_duration": round((ended - answer.arrived) * 1e9),
        "load_duration": round(max(0.0, placed - task.accepted) * 1e9),
        "prompt_eval_count": end.tokens_in,
        "prompt_eval_duration": (end.prefill_time_ms or 0) * _MS,
        "eval_count": end.tokens_out,
        "eval_duration": end.decode_time_ms * _MS,
    }


@dataclass(slots=True)
class Calls:
    """Tool calls as they come: this API tells each of them whole."""

    _parts: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, part: ToolCallPart) -> list[dict[str, Any]]:
        """Take a piece; the calls that are whole since another one has begun."""
        done = [] if part.call in self._parts else self.whole()
        call = self._parts.setdefault(part.call, {"id": part.id, "name": part.name, "text": ""})
        call["text"] += part.arguments
        return done

    def whole(self) -> list[dict[str, Any]]:
        """The calls that were not told yet."""
        found = [
            {
                "id": call["id"],
                "function": {
                    "index": number,
                    "name": call["name"],
                    "arguments": arguments_of(call["text"]),
                },
            }
            for number, call in sorted(self._parts.items())
        ]
        self._parts.clear()
        return found


class LineStream:
    """One answer as lines of JSON."""

    content_type = "application/x-ndjson"

    def __init__(self, answer: Answer, words: Words) -> None:
        """Write for `answer`, as `words` want it."""
        self._answer = answer
        self._words = words
        self._calls = Calls()
        self._end: EndFrame | None = None
        self.ping: bytes | None = self._line()
        """There are no comments in JSON: nothing is said, which every client takes for a piece."""

    def begin(self) -> bytes:
        """Nothing stands before the first piece."""
        return b""

    def piece(self, _: int, piece: Piece, /) -> bytes:
        """A line of text, of thinking, or of whole calls."""
        if isinstance(piece, Text):
            if piece.reasoning:
                return self._line(thinking=piece.text) if self._words.thinking else b""
            return self._line(piece.text, logs=piece.logprobs)
        if isinstance(piece, ToolCallPart):
            done = self._calls.add(piece)
            return self._line(tool_calls=done) if done else b""
        if isinstance(piece, EndFrame):
            self._end = piece
            done = self._calls.whole()
            return self._line(tool_calls=done) if done else b""
        return b""

    def finish(self) -> bytes:
        """The last line, with the bill."""
        assert self._end is not None  # noqa: S101 - an answer is whole only with its end
        said = self._words.head() | self._words.said() | {"done": True}
        return _json_line(said | bill(self._answer, self._end))

    def failure(self, error: RbeeError) -> bytes:
        """A line with an error, on which the API's clients raise."""
        return _json_line({"error": sentence(error)})

    def _line(
        self, content: str = "", *, logs: list[dict[str, Any]] | None = None, **more: Any
    ) -> bytes:
        said = self._words.head() | self._words.said(content, **more) | {"done": False}
        if logs:
            said["logprobs"] = [logprob(one) for one in logs]
        return _json_line(said)


def whole(answer: Answer, pieces: Iterable[Piece], words: Words) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    texts: list[str] = []
    thoughts: list[str] = []
    logs: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    calls, end = Calls(), None
    for piece in pieces:
        if isinstance(piece, Text):
            (thoughts if piece.reasoning else texts).append(piece.text)
            logs += [] if piece.reasoning else [logprob(one) for one in piece.logprobs or ()]
        elif isinstance(piece, ToolCallPart):
            found += calls.add(piece)
        elif isinstance(piece, EndFrame):
            end = piece
    assert end is not None  # noqa: S101 - an answer is whole only with its end
    found += calls.whole()
    more: dict[str, Any] = {}
    if thoughts and words.thinking:
        more["thinking"] = "".join(thoughts)
    if found:
        more["tool_calls"] = found
    said = words.head() | words.said("".join(texts), **more) | {"done": True}
    if logs:
        said["logprobs"] = logs
    return said | bill(answer, end)


def nothing_said(words: Words, reason: str) -> dict[str, Any]:
    """The answer to a request that only loads a model, or unloads it."""
    return words.head() | words.said() | {"done": True, "done_reason": reason}


def _json_line(value: dict[str, Any]) -> bytes:
    return f"{dumps(value)}\n".encode()
