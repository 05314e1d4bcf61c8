"""/v1/completions: raw text in, raw text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.call import Answer, Piece, SseTranslator, Text
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.openai.bodies import GenerationBody, choices
from rbee_agent.queen.api.openai.elsewhere import GENERATION_ELSEWHERE
from rbee_agent.queen.api.openai.usage import Usage, fingerprint_of
from rbee_agent.queen.api.openai.wire import DONE, dumps, failed

DEFAULT_MAX_TOKENS = 16
MAX_PROMPTS = 128
_NO_IDS = "token ids are of one tokenizer, and the models here have others: send text"

REFUSED = GENERATION_ELSEWHERE | {
    "suffix": No("models are asked to go on, not to fill in; write the fill-in tokens yourself"),
}


class CompletionBody(GenerationBody):
    """The body of ``POST /v1/completions``."""

    prompt: str | list[str] = Field(
        description="one text or up to 128; token ids are refused, they are of another tokenizer"
    )
    max_tokens: int | None = Field(DEFAULT_MAX_TOKENS, description="not given: 16, as at OpenAI")
    logprobs: int | None = Field(None, ge=0, le=20, description="0 to 20; OpenAI stops at 5")
    echo: bool = Field(False, description="the prompt before the text; not with `logprobs`")
    best_of: int | None = Field(None, description="only as many as `n`: none is thrown away")

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_text(cls, prompt: Any) -> Any:
        if isinstance(prompt, list):
            if not prompt or len(prompt) > MAX_PROMPTS:
                raise ValueError(f"1 to {MAX_PROMPTS} texts")
            if not all(isinstance(one, str) for one in prompt):
                raise ValueError(_NO_IDS)
        return prompt

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionBody:
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError("best_of must be what n is: no choice is made to be thrown away")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not supported: the prompt's are not computed")
        if len(self.prompts) * self.n > MAX_PROMPTS:
            raise ValueError(f"prompts times n may be {MAX_PROMPTS} at most")
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts, be it one."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def tasks(self, extra: dict[str, Any]) -> list[TaskRequest]:
        """The tasks: for each prompt its choices, in a row.

        Raises:
            InvalidParams: every violation.
        """
        fields = self.common() | extra
        if self.logprobs is not None:
            fields["logprobs"] = self.logprobs
        return [
            task
            for prompt in self.prompts
            for task in choices({**fields, "prompt": prompt}, self.n, self.seed)
        ]

    def echoed(self, place: int) -> str:
        """What stands before the text of the choice at a place."""
        return self.prompts[place // self.n] if self.echo else ""


def whole(
    answer: Answer, pieces: Sequence[Sequence[Piece]], body: CompletionBody
) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    usage = Usage(choices=body.n)
    shown = []
    for place, found in enumerate(pieces):
        text, finish, logs = body.echoed(place), "stop", _Logprobs()
        for piece in found:
            usage.add(place, piece)
            if isinstance(piece, Text):
                logs.add(piece, len(text))
                text += piece.text
            elif isinstance(piece, EndFrame):
                finish = piece.finish_reason
        shown.append(
            {
                "index": place,
                "text": text,
                "logprobs": logs.body() if body.logprobs is not None else None,
                "finish_reason": finish,
            }
        )
    head = _head(answer, body.model)
    return {**head, "choices": shown, "usage": usage.body(), **usage.timings()}


class CompletionStream(SseTranslator):
    """One answer as chunks."""

    def __init__(self, answer: Answer, body: CompletionBody) -> None:
        """Write for `answer`, as `body` asks."""
        self._answer = answer
        self._body = body
        self._usage = Usage(choices=body.n)
        self._wants_usage = body.stream_options is not None and body.stream_options.include_usage
        self._offsets = [0] * len(answer.tasks)
        self._head = ""
        self._tail = ""

    def begin(self) -> bytes:
        """The prompt, where it is to be echoed."""
        self._head = "data: " + dumps(_head(self._answer, self._body.model))[:-1]
        self._tail = ',"usage":null}\n\n' if self._wants_usage else "}\n\n"
        if not self._body.echo:
            return b""
        echoed = [self._body.echoed(place) for place in range(len(self._answer.tasks))]
        return b"".join(self._chunk(place, text, None) for place, text in enumerate(echoed))

    def piece(self, place: int, piece: Piece) -> bytes:
        """The next text of one choice, or its end."""
        self._usage.add(place, piece)
        if isinstance(piece, Text):
            logs = None
            if self._body.logprobs is not None:
                found = _Logprobs()
                found.add(piece, self._offsets[place])
                self._offsets[place] += len(piece.text)
                logs = found.body()
            return self._chunk(place, piece.text, logs)
        if isinstance(piece, EndFrame):
            return self._chunk(place, "", None, finish=piece.finish_reason)
        return b""

    def finish(self) -> bytes:
        """The usage, where it was asked for, and the end."""
        if not self._wants_usage:
            return DONE
        return (
            f'{self._head},"choices":[],"usage":{dumps(self._usage.body())}}}\n\n'.encode() + DONE
        )

    def failure(self, error: RbeeError) -> bytes:
        """An error in place of the end."""
        return failed(error)

    def _chunk(
        self, place: int, text: str, logs: dict[str, Any] | None, *, finish: str | None = None
    ) -> bytes:
        choice = {"index": place, "text": text, "logprobs": logs, "finish_reason": finish}
        timed = ""
        if finish is not None and len(self._answer.tasks) == 1:
            timed = f",{dumps(self._usage.timings())[1:-1]}"
        return f'{self._head},"choices":[{dumps(choice)}]{timed}{self._tail}'.encode()


class _Logprobs:
    """Log-probabilities as this older route has them: lists side by side."""

    def __init__(self) -> None:
        self._tokens: list[str] = []
        self._values: list[float] = []
        self._top: list[dict[str, float]] = []
        self._offsets: list[int] = []

    def add(self, piece: Text, offset: int) -> None:
        """Take the tokens of a piece that begins at `offset`."""
        for entry in piece.logprobs or ():
            best = {one["token"]: one["logprob"] for one in entry.get("top", ())}
            self._tokens.append(entry["token"])
            self._values.append(entry["logprob"])
            self._top.append(best | {entry["token"]: entry["logprob"]})
            self._offsets.append(offset)
            offset += len(entry["token"])

    def body(self) -> dict[str, Any]:
        """The `logprobs` object."""
        return {
            "tokens": self._tokens,
            "token_logprobs": self._values,
            "top_logprobs": self._top,
            "text_offset": self._offsets,
        }


def _head(answer: Answer, model: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{answer.id}",
        "object": "text_completion",
        "created": answer.created,
        "model": model,
        "system_fingerprint": fingerprint_of(answer),
    }
