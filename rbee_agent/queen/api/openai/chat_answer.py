"""Answers of /v1/chat/completions, whole and as a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.call import Answer, Piece, SseTranslator, Text, ToolCallPart
from rbee_agent.queen.api.openai.logprobs import logprob
from rbee_agent.queen.api.openai.usage import Usage, fingerprint_of
from rbee_agent.queen.api.openai.wire import DONE, dumps, failed


@dataclass(slots=True)
class Choice:
    """What one task has said so far."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str = "stop"

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        if isinstance(piece, Text):
            (self.reasoning if piece.reasoning else self.content).append(piece.text)
            if piece.logprobs and not piece.reasoning:
                self.logprobs.extend(map(logprob, piece.logprobs))
        elif isinstance(piece, ToolCallPart):
            call = self.calls.setdefault(
                piece.call,
                {"id": piece.id, "type": "function", "function": {"name": "", "arguments": ""}},
            )
            call["function"]["name"] = piece.name or call["function"]["name"]
            call["function"]["arguments"] += piece.arguments
        elif isinstance(piece, EndFrame):
            self.finish = piece.finish_reason

    def message(self) -> dict[str, Any]:
        """The assistant's message."""
        content = "".join(self.content)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content if content or not self.calls else None,
            "refusal": None,
        }
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = [call for _, call in sorted(self.calls.items())]
        return message


def whole(
    answer: Answer, pieces: Sequence[Sequence[Piece]], model: str, *, logprobs: bool
) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    usage = Usage(choices=len(pieces))
    shown = []
    for index, found in enumerate(pieces):
        choice = Choice()
        for piece in found:
            choice.add(piece)
            usage.add(index, piece)
        shown.append(
            {
                "index": index,
                "message": choice.message(),
                "logprobs": {"content": choice.logprobs, "refusal": None} if logprobs else None,
                "finish_reason": choice.finish,
            }
        )
    head = _head(answer, "chat.completion", model)
    return {**head, "choices": shown, "usage": usage.body(), **usage.timings()}


class ChatStream(SseTranslator):
    """One answer as chunks."""

    def __init__(self, answer: Answer, model: str, *, usage: bool, logprobs: bool) -> None:
        """Write for `answer`, with a last chunk of `usage` where it was asked for."""
        self._answer = answer
        self._model = model
        self._wants_usage = usage
        self._wants_logprobs = logprobs
        self._usage = Usage(choices=len(answer.tasks))
        self._head = ""
        self._tail = ""

    def begin(self) -> bytes:
        """The role, for each choice."""
        head = _head(self._answer, "chat.completion.chunk", self._model)
        self._head = "data: " + dumps(head)[:-1]
        self._tail = ',"usage":null}\n\n' if self._wants_usage else "}\n\n"
        first = {"role": "assistant", "content": ""}
        return b"".join(self._chunk(place, first) for place in range(len(self._answer.tasks)))

    def piece(self, place: int, piece: Piece) -> bytes:
        """A delta of one choice."""
        self._usage.add(place, piece)
        if isinstance(piece, Text):
            if piece.reasoning:
                return self._chunk(place, {"reasoning_content": piece.text})
            if not self._wants_logprobs:
                # Nearly every chunk of nearly every stream: only its text is new.
                return (
                    f'{self._head},"choices":[{{"index":{place},"delta":{{"content":'
                    f'{json.dumps(piece.text, ensure_ascii=False)}}},"logprobs":null,'
                    f'"finish_reason":null}}]{self._tail}'
                ).encode()
            shown = [logprob(one) for one in piece.logprobs or ()]
            return self._chunk(place, {"content": piece.text}, logprobs=shown)
        if isinstance(piece, ToolCallPart):
            return self._chunk(place, {"tool_calls": [_call_delta(piece)]})
        if isinstance(piece, EndFrame):
            return self._chunk(place, {}, finish=piece.finish_reason)
        return b""

    def finish(self) -> bytes:
        """The usage, where it was asked for, and the end."""
        if not self._wants_usage:
            return DONE
        usage = dumps(self._usage.body())
        return f'{self._head},"choices":[],"usage":{usage}}}\n\n'.encode() + DONE

    def failure(self, error: RbeeError) -> bytes:
        """An error in place of the end."""
        return failed(error)

    def _chunk(
        self,
        place: int,
        delta: dict[str, Any],
        *,
        logprobs: list[dict[str, Any]] | None = None,
        finish: str | None = None,
    ) -> bytes:
        choice = {
            "index": place,
            "delta": delta,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": finish,
        }
        shown = dumps(choice)
        timed = ""
        if finish is not None and len(self._answer.tasks) == 1:
            timed = f",{dumps(self._usage.timings())[1:-1]}"
        return f'{self._head},"choices":[{shown}]{timed}{self._tail}'.encode()


def _call_delta(part: ToolCallPart) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": part.arguments}
    delta: dict[str, Any] = {"index": part.call, "function": function}
    if part.name is not None:
        function["name"] = part.name
        delta |= {"id": part.id, "type": "function"}
    return delta


def _head(answer: Answer, kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": answer.created,
        "model": model,
        "system_fingerprint": fingerprint_of(answer),
    }
