"""Fields that vLLM and llama.cpp's server have beside OpenAI's, which their callers send along."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.grammar.compile import choice_grammar, pattern_grammar
from rbee_agent.queen.api.fields import No

_NO_SAMPLER = "there is no such sampler"
_SHAPES = ("json", "json_object", "choice", "regex", "grammar")

GENERATION_ELSEWHERE = {
    "chat_template": No("the model's file has one; an operator sets another"),
    "dry_multiplier": No(_NO_SAMPLER, (0, 0.0)),
    "dynatemp_range": No(_NO_SAMPLER, (0, 0.0)),
    "id_slot": No("a free slot is taken", (-1,)),
    "include_stop_str_in_output": No("an answer ends before its stop text", (False,)),
    "keep_alive": No("Ollama's routes have it"),
    "length_penalty": No("there is no beam search", (1, 1.0)),
    "lora": No("adapters are set when a worker is started", ([],)),
    "min_tokens": No("an answer may end at once; `ignore_eos` goes on", (0,)),
    "mirostat": No(_NO_SAMPLER, (0,)),
    "num_ctx": No("fixed when a worker starts: `rbee worker spawn`"),
    "return_progress": No("a stream pings while a prompt is read", (False,)),
    "samplers": No("their order is llama.cpp's own"),
    "skip_special_tokens": No("they are never shown", (True,)),
    "spaces_between_special_tokens": No("they are never shown", (True,)),
    "stop_token_ids": No("token ids are of one tokenizer: send texts as `stop`", ([],)),
    "t_max_predict_ms": No("`deadline_ms` bounds a task", (0, -1)),
    "timings_per_token": No("the end has them", (False,)),
    "use_beam_search": No("there is no beam search", (False,)),
    "xtc_probability": No(_NO_SAMPLER, (0, 0.0)),
}
"""Refused wherever text is generated, but for the values that ask for what is done anyway."""
CHAT_ELSEWHERE = GENERATION_ELSEWHERE | {
    "add_generation_prompt": No("an answer is the assistant's turn", (True,)),
    "best_of": No("`n` choices are all shown", (1,)),
    "continue_final_message": No("going on inside an answer is not supported", (False,)),
    "echo": No("an answer stands alone", (False,)),
    "include_reasoning": No("`reasoning_effort: none` turns thinking off", (True,)),
    "reasoning_format": No("thoughts are `reasoning_content`", ("auto", "deepseek")),
}


class Structured(Contract):
    """vLLM's ways to say what shape an answer has; one of them."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    json_object: bool | None = None
    choice: list[str] | None = Field(None, min_length=1)
    regex: str | None = None
    grammar: str | None = None

    @field_validator("json_", mode="before")
    @classmethod
    def _may_be_text(cls, given: Any) -> Any:
        return json.loads(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one(self) -> Structured:
        given = [self.json_, self.json_object or None, self.choice, self.regex, self.grammar]
        if sum(one is not None for one in given) > 1:
            raise ValueError(f"one of {', '.join(_SHAPES)}")
        return self

    def fields(self, name: str) -> dict[str, Any]:
        """The fields of a task that follow; `name` is the caller's field, for refusals.

        Raises:
            InvalidParams: the pattern holds what no grammar enforces.
        """
        if self.json_ is not None:
            return {"response_format": {"type": "json_schema", "json_schema": self.json_}}
        if self.json_object:
            return {"response_format": {"type": "json_object"}}
        if self.choice is not None:
            return {"grammar": choice_grammar(self.choice)}
        if self.regex is not None:
            return {"grammar": pattern_grammar(self.regex, name)}
        return {} if self.grammar is None else {"grammar": self.grammar}


def guided(given: dict[str, Any]) -> dict[str, Any]:
    """A body whose older `guided_…` fields, and llama.cpp's `json_schema`, stand together."""
    renamed = {f"guided_{shape}": shape for shape in _SHAPES} | {"json_schema": "json"}
    found = {new: given[old] for old, new in renamed.items() if given.get(old) is not None}
    if not found or given.get("structured_outputs") is not None:
        return given
    rest = {name: value for name, value in given.items() if name not in renamed}
    return {**rest, "structured_outputs": found}
