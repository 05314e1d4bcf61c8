"""Answers of /completion, whole and as a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.call import Answer, Piece, SseTranslator, Text
from rbee_agent.queen.api.llamacpp.refusals import error_body
from rbee_agent.queen.api.openai.logprobs import logprob
from rbee_agent.queen.api.openai.wire import dumps
from rbee_agent.queen.api.timings import timings


class CompletionStream(SseTranslator):
    """One answer as chunks; the last one has the bill, and nothing comes behind it."""

    def __init__(self, answer: Answer, model: str) -> None:
        """Write for `answer`."""
        self._answer = answer
        self._model = model
        self._made = [0] * len(answer.tasks)
        self._lines = [False] * len(answer.tasks)

    def begin(self) -> bytes:
        """Nothing stands before the first piece."""
        return b""

    def piece(self, place: int, piece: Piece, /) -> bytes:
        """A chunk of text, or the last one of a prompt."""
        if isinstance(piece, Text):
            self._made[place] += piece.tokens
            self._lines[place] |= "\n" in piece.text
            chunk: dict[str, Any] = {
                "index": place,
                "content": piece.text,
                "tokens": [],
                "stop": False,
                "id_slot": -1,
                "tokens_predicted": self._made[place],
                "tokens_evaluated": self._answer.tasks[place].tokens_in,
            }
            if piece.logprobs:
                chunk["completion_probabilities"] = _probabilities(piece)
            return _data(chunk)
        if isinstance(piece, EndFrame):
            lines = self._lines[place]
            return _data(_last(self._answer, place, self._model, "", piece, lines=lines))
        return b""

    def finish(self) -> bytes:
        """There is no mark behind the last chunk."""
        return b""

    def failure(self, error: RbeeError) -> bytes:
        """An error in place of the last chunk."""
        return _data(error_body(error))


def whole(answer: Answer, place: int, pieces: Iterable[Piece], model: str) -> dict[str, Any]:
    """The answer to the prompt at a place."""
    text, probabilities, end = "", [], None
    for piece in pieces:
        if isinstance(piece, Text):
            text += piece.text
            probabilities += _probabilities(piece)
        elif isinstance(piece, EndFrame):
            end = piece
    assert end is not None  # noqa: S101 - an answer is whole only with its end
    said = _last(answer, place, model, text, end, lines="\n" in text)
    if probabilities:
        said["completion_probabilities"] = probabilities
    return said


def _last(
    answer: Answer, place: int, model: str, content: str, end: EndFrame, *, lines: bool
) -> dict[str, Any]:
    task = answer.tasks[place]
    return {
        "index": place,
        "content": content,
        "tokens": [],
        "id_slot": -1,
        "stop": True,
        "model": model,
        "tokens_predicted": end.tokens_out,
        "tokens_evaluated": end.tokens_in,
        "generation_settings": task.request.sampling().dump()
        | {"n_predict": task.request.max_tokens or -1, "stop": task.request.stop},
        "prompt": task.request.prompt,
        "has_new_line": lines,
        "truncated": False,
        "stop_type": _why(end),
        "stopping_word": end.stop_sequence or "",
        "tokens_cached": end.tokens_in + end.tokens_out,
        "timings": timings(end),
    }


def _why(end: EndFrame) -> str:
    if end.finish_reason == "length":
        return "limit"
    return "eos" if end.stop_sequence is None else "word"


def _probabilities(piece: Text) -> list[dict[str, Any]]:
    return [logprob(entry) for entry in piece.logprobs or ()]


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {dumps(value)}\n\n".encode()
