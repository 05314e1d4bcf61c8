"""Answers of /v1/responses, whole and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee_agent.contracts.tasks import Sampling
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.call import Answer, Piece, SseTranslator
from rbee_agent.queen.api.openai.refusals import error_body
from rbee_agent.queen.api.openai.responses_body import ResponsesBody
from rbee_agent.queen.api.openai.responses_output import Event, Output
from rbee_agent.queen.api.openai.usage import Usage
from rbee_agent.queen.api.openai.wire import dumps

_DEFAULTS = Sampling()


def whole(answer: Answer, pieces: Sequence[Piece], body: ResponsesBody) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    output, usage = Output(answer.id), Usage()
    for piece in pieces:
        output.take(piece)
        usage.add(0, piece)
    return _response(answer, body, output, status=output.status, usage=usage)


class ResponseStream(SseTranslator):
    """One answer as the events of this API; its end is `response.completed`, not a mark."""

    def __init__(self, answer: Answer, body: ResponsesBody) -> None:
        """Write for `answer`, as `body` asks."""
        self._answer = answer
        self._body = body
        self._output = Output(answer.id)
        self._usage = Usage()
        self._sequence = 0

    def begin(self) -> bytes:
        """The response with nothing in it yet."""
        empty = _response(self._answer, self._body, self._output, status="in_progress")
        return self._write(
            {"type": "response.created", "response": empty},
            {"type": "response.in_progress", "response": empty},
        )

    def piece(self, place: int, piece: Piece) -> bytes:
        """What a piece adds."""
        self._usage.add(place, piece)
        return self._write(*self._output.take(piece))

    def finish(self) -> bytes:
        """The whole response."""
        return self._last(self._output.status, usage=self._usage)

    def failure(self, error: RbeeError) -> bytes:
        """The response as far as it came, and why it failed."""
        said = error_body(error)["error"]
        return self._last("failed", error={"code": said["code"], "message": said["message"]})

    def _last(
        self, status: str, *, usage: Usage | None = None, error: dict[str, str] | None = None
    ) -> bytes:
        response = _response(
            self._answer, self._body, self._output, status=status, usage=usage, error=error
        )
        return self._write({"type": f"response.{status}", "response": response})

    def _write(self, *events: Event) -> bytes:
        lines = []
        for event in events:
            lines.append(
                f"event: {event['type']}\ndata: "
                f"{dumps({**event, 'sequence_number': self._sequence})}\n\n"
            )
            self._sequence += 1
        return "".join(lines).encode()


def _response(
    answer: Answer,
    body: ResponsesBody,
    output: Output,
    *,
    status: str,
    usage: Usage | None = None,
    error: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The `response` object."""
    cut = status == "incomplete"
    text = body.text.model_dump(mode="json", exclude_none=True, by_alias=True) if body.text else {}
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": False,
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": body.model,
        "output": output.items,
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": body.service_tier or "default",
        "store": False,
        "temperature": _DEFAULTS.temperature if body.temperature is None else body.temperature,
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": _choice(body),
        "tools": [tool.model_dump(mode="json") for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": _DEFAULTS.top_p if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None if usage is None else _usage(usage),
        "user": body.user,
        "metadata": body.metadata or {},
    }


def _choice(body: ResponsesBody) -> Any:
    choice = body.tool_choice
    return choice.dump() if choice is not None and not isinstance(choice, str) else choice or "auto"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.tokens_in,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.tokens_in + usage.tokens_out,
    }
