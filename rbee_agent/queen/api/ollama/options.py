"""`options` of Ollama's requests, and the durations of `keep_alive`."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import Field, field_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.errors import InvalidParams
from rbee_agent.queen.api.fields import No, read_body

_AT_START = "set when a worker is started: `rbee worker spawn`"
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


class Options(Contract):
    """How the next token is chosen, and how many there may be."""

    temperature: float | None = Field(None, description="0 to 2; not given: 0.7")
    top_k: int | None = Field(None, description="not given: 40")
    top_p: float | None = Field(None, description="not given: 0.95")
    min_p: float | None = Field(None, description="not given: 0.05")
    typical_p: float | None = Field(None, description="as llama.cpp has it")
    repeat_penalty: float | None = Field(None, description="not given: 1.0")
    repeat_last_n: int | None = Field(None, description="not given: 64; -1: all")
    presence_penalty: float | None = Field(None, description="-2 to 2")
    frequency_penalty: float | None = Field(None, description="-2 to 2")
    seed: int | None = Field(None, description="-1: another one each time")
    stop: list[str] | None = Field(None, description="up to 4")
    num_predict: int | None = Field(None, description="-1 and -2: to the model's own end")
    num_ctx: int | None = Field(
        None, ge=1, description="refused where it is more than the model's workers have"
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    def fields(self) -> dict[str, Any]:
        """The fields of a task that follow from these."""
        found: dict[str, Any] = {
            task: value
            for task, own in TASK_NAMES.items()
            if (value := getattr(self, own)) is not None
        }
        if found.get("max_tokens", 0) in (-1, -2):
            del found["max_tokens"]
        if found.get("seed", 0) < 0:
            del found["seed"]
        return found


TASK_NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "stop": "stop",
    "max_tokens": "num_predict",
}
"""Fields of a task, and what Ollama calls them."""

REFUSED = {
    "embedding_only": No("a model's file says whether it embeds", (False,)),
    "f16_kv": No(_AT_START, (True,)),
    "logits_all": No("`logprobs` tells them", (False,)),
    "low_vram": No(_AT_START, (False,)),
    "main_gpu": No(_AT_START),
    "mirostat": No("there is no such sampler", (0,)),
    "mirostat_eta": No("there is no such sampler"),
    "mirostat_tau": No("there is no such sampler"),
    "num_batch": No(_AT_START),
    "num_gpu": No(_AT_START),
    "num_keep": No("nothing is ever cut from a prompt"),
    "num_thread": No(_AT_START),
    "numa": No(_AT_START, (False,)),
    "penalize_newline": No("newlines count like other tokens", (True,)),
    "tfs_z": No("there is no such sampler", (1, 1.0)),
    "use_mlock": No(_AT_START, (False,)),
    "use_mmap": No(_AT_START, (True,)),
    "vocab_only": No(_AT_START, (False,)),
}


def read_options(given: dict[str, Any]) -> Options:
    """The options of a request.

    Raises:
        InvalidParams: every violation, with `options.` before its name.
    """
    try:
        return read_body(Options, REFUSED, given, api="Ollama")
    except InvalidParams as error:
        named = [{**one, "field": f"options.{one['field']}"} for one in error.errors]
        raise InvalidParams(named) from error


def seconds(duration: float | str) -> float:
    """A duration as Ollama takes it: seconds, or ``1h30m``; whatever is negative is for ever.

    Raises:
        ValueError: it is none.
    """
    if isinstance(duration, str):
        text = duration.strip()
        digits = text.removeprefix("-")
        if digits.isdigit():
            number = float(text)
        elif digits and not _PART.sub("", digits):
            number = sum(float(size) * _SECONDS[unit] for size, unit in _PART.findall(digits))
            number = -number if text.startswith("-") else number
        else:
            raise ValueError("a duration is seconds, or a text such as 5m or 1h30m; -1: for ever")
    else:
        number = float(duration)
    return math.inf if number < 0 else number
