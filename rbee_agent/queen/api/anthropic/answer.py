"""Answers of /v1/messages, whole and as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.anthropic.refusals import error_body
from rbee_agent.queen.api.call import Answer, Piece, SseTranslator, Text, ToolCallPart, arguments_of
from rbee_agent.wire.sse import encode

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def event(name: str, **data: Any) -> bytes:
    """One event; its data repeats its name."""
    text = json.dumps({"type": name, **data}, separators=(",", ":"), ensure_ascii=False)
    return encode(text, event=name)


PING = event("ping")


class MessageStream(SseTranslator):
    """One answer as the API's events: blocks one after the other, each begun and stopped."""

    ping: bytes | None = PING

    def __init__(self, answer: Answer, model: str, *, thinking: bool) -> None:
        """Write for `answer`; without `thinking` the model's thoughts are left out."""
        self._answer = answer
        self._model = model
        self._thinking = thinking
        self._index = -1
        self._open: tuple[str, int] | None = None
        """Kind of the block that is open, and the number of its call."""
        self._thought = 0
        self._end: EndFrame | None = None

    def begin(self) -> bytes:
        """The message without its content, and a first ping."""
        usage = {"input_tokens": self._answer.tasks[0].tokens_in, "output_tokens": 0}
        message = _message(self._answer, self._model, [], None, None, usage)
        return event("message_start", message=message) + PING

    def piece(self, _: int, piece: Piece, /) -> bytes:
        """A delta of a block, which it may open."""
        if isinstance(piece, Text):
            return self._thinks(piece) if piece.reasoning else self._says(piece)
        if isinstance(piece, ToolCallPart):
            return self._calls(piece)
        if isinstance(piece, EndFrame):
            self._end = piece
        return b""

    def finish(self) -> bytes:
        """The end of the last block, why the answer ended, and the bill."""
        end = self._end
        assert end is not None  # noqa: S101 - an answer is whole only with its end
        opened = self._opened("text", 0, {"type": "text", "text": ""}) if self._index < 0 else b""
        delta = {"stop_reason": _reason(end), "stop_sequence": end.stop_sequence}
        return (
            opened
            + self._closed()
            + event("message_delta", delta=delta, usage=_usage(end, self._thought))
            + event("message_stop")
        )

    def failure(self, error: RbeeError) -> bytes:
        """The error event, on which the API's clients raise."""
        return event("error", **error_body(error))

    def _says(self, piece: Text) -> bytes:
        opened = self._opened("text", 0, {"type": "text", "text": ""})
        return (
            opened
            + (
                f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":'
                f'{self._index},"delta":{{"type":"text_delta","text":'
                f"{json.dumps(piece.text, ensure_ascii=False)}}}}}\n\n"
            ).encode()
        )

    def _thinks(self, piece: Text) -> bytes:
        self._thought += piece.tokens
        if not self._thinking:
            return b""
        block = {"type": "thinking", "thinking": "", "signature": ""}
        opened = self._opened("thinking", 0, block)
        return opened + self._delta({"type": "thinking_delta", "thinking": piece.text})

    def _calls(self, part: ToolCallPart) -> bytes:
        block: dict[str, Any] = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        opened = self._opened("tool_use", part.call, block)
        if not part.arguments:
            return opened
        return opened + self._delta({"type": "input_json_delta", "partial_json": part.arguments})

    def _opened(self, kind: str, number: int, block: dict[str, Any]) -> bytes:
        """The start of a block, unless it is the one that is open."""
        if self._open == (kind, number):
            return b""
        closed = self._closed()
        self._open = (kind, number)
        self._index += 1
        return closed + event("content_block_start", index=self._index, content_block=block)

    def _closed(self) -> bytes:
        """The stop of the block that is open, if one is."""
        if self._open is None:
            return b""
        kind, self._open = self._open[0], None
        # Nobody but Anthropic can sign thoughts; its clients want the event all the same.
        signed = self._delta({"type": "signature_delta", "signature": ""})
        stop = event("content_block_stop", index=self._index)
        return signed + stop if kind == "thinking" else stop

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", index=self._index, delta=delta)


def whole(answer: Answer, pieces: Iterable[Piece], model: str, *, thinking: bool) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    content: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    calls: dict[int, dict[str, Any]] = {}
    thought, end = 0, None
    for piece in pieces:
        if isinstance(piece, Text):
            thought += piece.tokens if piece.reasoning else 0
            if thinking or not piece.reasoning:
                _said(content, piece)
        elif isinstance(piece, ToolCallPart):
            if piece.call not in calls:
                calls[piece.call] = {"type": "tool_use", "id": piece.id, "name": piece.name}
                content.append(calls[piece.call])
            arguments[piece.call] = arguments.get(piece.call, "") + piece.arguments
        elif isinstance(piece, EndFrame):
            end = piece
    assert end is not None  # noqa: S101 - an answer is whole only with its end
    for number, call in calls.items():
        call["input"] = arguments_of(arguments[number])
    usage = _usage(end, thought)
    return _message(answer, model, content, _reason(end), end.stop_sequence, usage)


def _said(content: list[dict[str, Any]], piece: Text) -> None:
    kind = "thinking" if piece.reasoning else "text"
    if not content or content[-1]["type"] != kind:
        signature = {"signature": ""} if piece.reasoning else {}
        content.append({"type": kind, kind: "", **signature})
    content[-1][kind] += piece.text


def _reason(end: EndFrame) -> str:
    return "stop_sequence" if end.stop_sequence is not None else _REASONS[end.finish_reason]


def _usage(end: EndFrame, thought: int) -> dict[str, Any]:
    """The bill; what came out of a prefix cache is told apart from what was read."""
    return {
        "input_tokens": end.tokens_in - end.tokens_cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": end.tokens_cached,
        "output_tokens": end.tokens_out,
        "output_tokens_details": {"thinking_tokens": thought},
    }


def _message(
    answer: Answer,
    model: str,
    content: list[dict[str, Any]],
    reason: str | None,
    stop_sequence: str | None,
    usage: dict[str, Any],
) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stop_sequence,
        "usage": usage,
    }
