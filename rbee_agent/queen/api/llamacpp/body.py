"""What /completion and the text routes take."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import MAX_NAME, Effort, Message, TaskRequest
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.task_fields import task_named

MAX_PROMPTS = 128
NAMES = {
    "max_tokens": "n_predict",
    "repetition_penalty": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
    "logprobs": "n_probs",
    "response_format": "json_schema",
}
"""What llama.cpp calls the fields of a task, where that differs."""
_SAME = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "presence_penalty", "frequency_penalty",
    "stop", "grammar", "ignore_eos",
)  # fmt: skip
_MODEL = "not given: the one model that workers have, if it is one"


class LlamaModelBody(Contract):
    """What every such request may name; llama.cpp's server has one model, a queen has many."""

    model: str | None = Field(None, min_length=1, max_length=MAX_NAME, description=_MODEL)


class LlamaCompletionBody(LlamaModelBody):
    """The body of ``POST /completion``."""

    prompt: str | list[str] = Field(
        description="one text or up to 128; token ids are refused, they are of another tokenizer"
    )
    stream: bool = Field(False, description="server-sent events; the last one has `stop: true`")
    n_predict: int | None = Field(None, description="-1: to the model's own end")
    temperature: float | None = Field(None, description="0 to 2; not given: 0.7")
    top_k: int | None = Field(None, description="not given: 40")
    top_p: float | None = Field(None, description="not given: 0.95")
    min_p: float | None = Field(None, description="not given: 0.05")
    typical_p: float | None = Field(None, description="not given: 1.0")
    repeat_penalty: float | None = Field(None, description="not given: 1.0")
    repeat_last_n: int | None = Field(None, description="not given: 64; -1: all")
    presence_penalty: float | None = Field(None, description="-2 to 2")
    frequency_penalty: float | None = Field(None, description="-2 to 2")
    seed: int | None = Field(None, description="-1: another one each time")
    stop: list[str] | None = Field(None, description="up to 4")
    logit_bias: dict[str, float] | None = Field(
        None, description="by token id, as an object or as pairs; `false`: never"
    )
    n_probs: int = Field(0, ge=0, le=20, description="0 to 20")
    grammar: str | None = Field(None, description="GBNF")
    json_schema: dict[str, Any] | None = Field(None, description="enforced by a grammar")
    ignore_eos: bool | None = Field(None, description="go on behind the end token")
    cache_prompt: bool = Field(True, description="`false`: read the prompt anew")

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_text(cls, given: Any) -> Any:
        if isinstance(given, list):
            if not given or len(given) > MAX_PROMPTS:
                raise ValueError(f"1 to {MAX_PROMPTS} texts")
            if not all(isinstance(one, str) for one in given):
                raise ValueError("token ids are of one tokenizer: send text, or /detokenize first")
        return given

    @field_validator("stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _pairs(cls, given: Any) -> Any:
        pairs = given.items() if isinstance(given, dict) else given
        if not isinstance(pairs, list) and not isinstance(given, dict):
            return given
        try:
            return {
                str(int(token)): -100.0 if bias is False else float(bias) for token, bias in pairs
            }
        except (TypeError, ValueError) as error:
            raise ValueError("pairs of a token id and a number, or false") from error

    @property
    def prompts(self) -> list[str]:
        """The prompts, be it one."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def tasks(self, model: str, extra: dict[str, Any]) -> list[TaskRequest]:
        """One task for each prompt; `extra` came by header.

        Raises:
            InvalidParams: every violation, under the names of this API.
        """
        fields: dict[str, Any] = {
            name: value for name in _SAME if (value := getattr(self, name)) is not None
        }
        renamed = {
            "repetition_penalty": self.repeat_penalty,
            "penalty_last_n": self.repeat_last_n,
            "logit_bias": self.logit_bias,
            "max_tokens": None if self.n_predict == -1 else self.n_predict,
            "seed": self.seed if self.seed is None or self.seed >= 0 else None,
            "logprobs": self.n_probs or None,
        }
        fields |= {name: value for name, value in renamed.items() if value is not None}
        if self.json_schema is not None:
            fields["response_format"] = {"type": "json_schema", "json_schema": self.json_schema}
        if not self.cache_prompt:
            fields["kv_hint"] = "cold"
        fields |= {"model": model, **extra}
        return [task_named({**fields, "prompt": prompt}, NAMES) for prompt in self.prompts]


class TokenizeBody(LlamaModelBody):
    """The body of ``POST /tokenize``."""

    content: str = Field(description="the text")
    add_special: bool = Field(False, description="with the token that begins a text")
    parse_special: bool = Field(True, description="special tokens by their names")
    with_pieces: bool = Field(False, description="with the text of each token")


class DetokenizeBody(LlamaModelBody):
    """The body of ``POST /detokenize``."""

    tokens: list[int] = Field(description="token ids of this model")


class TemplateBody(LlamaModelBody):
    """The body of ``POST /apply-template``."""

    messages: list[Message] = Field(min_length=1, description="as in /v1/chat/completions")
    tools: list[dict[str, Any]] | None = Field(None, description="likewise")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="likewise")
    reasoning_effort: Effort | None = Field(None, description="likewise")


_NO_SAMPLER = "there is no such sampler"
REFUSED = {
    "dry_multiplier": No(_NO_SAMPLER, (0, 0.0)),
    "dynatemp_range": No(_NO_SAMPLER, (0, 0.0)),
    "id_slot": No("a free slot is taken", (-1,)),
    "image_data": No("no model here can see images", ([],)),
    "lora": No("adapters are set when a worker is started"),
    "mirostat": No(_NO_SAMPLER, (0,)),
    "multimodal_data": No("no model here can see images"),
    "n_discard": No("nothing is ever cut from a prompt", (0,)),
    "n_indent": No(_NO_SAMPLER, (0,)),
    "n_keep": No("nothing is ever cut from a prompt", (0,)),
    "post_sampling_probs": No("log-probabilities are the model's own", (False,)),
    "response_fields": No("the whole answer is sent"),
    "return_progress": No("a stream pings while a prompt is read", (False,)),
    "return_tokens": No("ids stay between queen and worker; `/tokenize` gives them", (False,)),
    "samplers": No("their order is llama.cpp's own"),
    "t_max_predict_ms": No("`deadline_ms` of /v2 bounds a task", (0,)),
    "timings_per_token": No("the end has them", (False,)),
    "xtc_probability": No(_NO_SAMPLER, (0, 0.0)),
}
