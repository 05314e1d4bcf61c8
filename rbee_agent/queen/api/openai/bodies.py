"""What /v1/chat/completions and /v1/completions take, and the tasks that it becomes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import MAX_NAME, PlacementWish, TaskRequest
from rbee_agent.queen.api.call import violation
from rbee_agent.queen.api.openai.elsewhere import Structured
from rbee_agent.queen.api.task_fields import task_of

MAX_CHOICES = 128
LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")
"""Fields that may be -1: as many as fit."""
_SAME = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "presence_penalty", "frequency_penalty",
    "logit_bias", "ignore_eos", "grammar", "priority", "deadline_ms", "placement",
)  # fmt: skip
"""Fields that a task has under the same name."""


class StreamOptions(Contract):
    """How a stream is written."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False
    continuous_usage_stats: Literal[False] = False


class GenerationBody(Contract):
    """What both kinds of generation share. Ranges are those of a task, which checks them."""

    model: str = Field(
        min_length=1, max_length=MAX_NAME, description="a name of `/v1/models`, or a reference"
    )
    stream: bool = Field(False, description="server-sent events, ended by `data: [DONE]`")
    stream_options: StreamOptions | None = Field(
        None, description="`include_usage`; of `include_obfuscation` only `false`"
    )
    n: int = Field(1, ge=1, le=MAX_CHOICES, description="choices, each a task of its own")
    max_tokens: int | None = Field(None, description="at most so many tokens")
    temperature: float | None = Field(None, description="0 to 2; not given: 0.7")
    top_p: float | None = Field(None, description="above 0, up to 1; not given: 0.95")
    presence_penalty: float | None = Field(None, description="-2 to 2")
    frequency_penalty: float | None = Field(None, description="-2 to 2")
    logit_bias: dict[str, float] | None = Field(
        None, description="token ids of the model in use, not of OpenAI's"
    )
    seed: int | None = Field(
        None, description="choice k gets seed + k; with temperature 0: the same bytes every time"
    )
    stop: list[str] | None = Field(None, description="up to 4")
    user: str | None = Field(None, description="names the session")
    top_k: int | None = Field(None, description="as llama.cpp has it; not given: 40")
    min_p: float | None = Field(None, description="as llama.cpp has it; not given: 0.05")
    typical_p: float | None = Field(None, description="as llama.cpp has it")
    repetition_penalty: float | None = Field(None, description="above 0, up to 4")
    repeat_penalty: float | None = Field(None, description="llama.cpp's name of it")
    ignore_eos: bool | None = Field(None, description="go on behind the end token")
    grammar: str | None = Field(None, description="GBNF, as llama.cpp has it")
    structured_outputs: Structured | None = Field(
        None,
        description="vLLM's `json`, `json_object`, `choice`, `regex` or `grammar`, enforced; also "
        "as `guided_json` and so on, and llama.cpp's `json_schema`",
    )
    repeat_last_n: int | None = Field(
        None, description="so many tokens count for penalties: llama.cpp's; not given: 64"
    )
    n_predict: int | None = Field(None, description="llama.cpp's name of `max_tokens`")
    cache_prompt: bool | None = Field(None, description="`false`: read the prompt anew")
    priority: Literal["interactive", "batch"] | None = Field(None, description="as in /v2")
    deadline_ms: int | None = Field(None, description="as in /v2")
    placement: PlacementWish | None = Field(None, description="as in /v2")

    @field_validator("stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="before")
    @classmethod
    def _as_elsewhere(cls, given: Any) -> Any:
        """What other servers take too: -1 for no limit, and for all tokens."""
        if not isinstance(given, dict):
            return given
        return {
            name: 0 if name == "top_k" and value == -1 else value
            for name, value in given.items()
            if name not in LIMITS or value != -1
        }

    @model_validator(mode="after")
    def _consistent(self) -> GenerationBody:
        if self.repeat_penalty is not None and self.repetition_penalty is not None:
            raise ValueError("give one of repeat_penalty and repetition_penalty")
        if self.grammar is not None and self.structured_outputs is not None:
            raise ValueError("give one of grammar and structured_outputs")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options belong to stream: true")
        return self

    def common(self) -> dict[str, Any]:
        """The fields of a task that follow from these."""
        fields: dict[str, Any] = {
            name: value for name in _SAME if (value := getattr(self, name)) is not None
        }
        fields["model"] = self.model
        if self.repeat_last_n is not None:
            fields["penalty_last_n"] = self.repeat_last_n
        if self.structured_outputs is not None:
            fields |= self.structured_outputs.fields("structured_outputs")
        limit = self.n_predict if self.n_predict is not None else self.max_tokens
        if limit is not None:
            fields["max_tokens"] = limit
        if (penalty := self.repetition_penalty or self.repeat_penalty) is not None:
            fields["repetition_penalty"] = penalty
        if self.stop is not None:
            fields["stop"] = self.stop
        if self.cache_prompt is False:
            fields["kv_hint"] = "cold"
        return fields


def choices(fields: dict[str, Any], n: int, seed: int | None) -> list[TaskRequest]:
    """One task for each choice, told apart by their seeds.

    Raises:
        InvalidParams: every violation, under the names that the caller used.
    """
    made = []
    for place in range(n):
        # A negative seed is as good as any other: its two's complement is taken.
        own = {} if seed is None else {"seed": (seed + place) % 2**64}
        made.append(task_of({**fields, **own}))
    return made


def one_limit(max_tokens: int | None, newer: int | None) -> int | None:
    """The limit that two fields of different age mean.

    Raises:
        InvalidParams: they contradict each other.
    """
    if max_tokens is not None and newer is not None and max_tokens != newer:
        raise violation("max_completion_tokens", "contradicts max_tokens, its older name")
    return newer if newer is not None else max_tokens
