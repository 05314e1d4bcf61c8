"""What /api/chat, /api/generate and the embedding routes take, and the tasks that they become."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import MAX_NAME, TaskRequest
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.ollama.options import TASK_NAMES, Options, read_options, seconds
from rbee_agent.queen.api.task_fields import task_named

NAMES = {task: f"options.{own}" for task, own in TASK_NAMES.items()} | {"logprobs": "top_logprobs"}
_BLIND = "no model here can see images"
_NO_CUT = "a text that does not fit is refused with the numbers, never cut"


def _options(given: Any) -> Any:
    return read_options(given) if isinstance(given, dict) else given


def _is_duration(given: float | str | None) -> float | str | None:
    if given is not None:
        seconds(given)
    return given


def _format(given: Any) -> Any:
    return None if given == "" else given


KeepAlive = Annotated[float | str | None, AfterValidator(_is_duration)]
OptionsField = Annotated[Options, BeforeValidator(_options)]
_KEEP = (
    "how long it may idle then, if it was loaded on demand; 0: unload, -1: as long as there is room"
)
_MODEL = "a name of `/api/tags`; `:latest` may stand behind it"


class OllamaModelBody(Contract):
    """What every request about a model has."""

    model: str = Field(min_length=1, max_length=MAX_NAME, description=_MODEL)
    options: OptionsField = Field(Options(), description="see below")
    keep_alive: KeepAlive = Field(None, description=_KEEP)

    @property
    def keep_s(self) -> float | None:
        """Seconds that the model may idle; None: not said."""
        return None if self.keep_alive is None else seconds(self.keep_alive)


class AnswerBody(OllamaModelBody):
    """What both kinds of generation share."""

    stream: bool = Field(True, description="lines of JSON; not given: true, as at Ollama")
    format: Annotated[Literal["json"] | dict[str, Any] | None, BeforeValidator(_format)] = Field(
        None, description="`json` or a JSON Schema, enforced by a grammar"
    )
    think: bool | Literal["low", "medium", "high"] | None = Field(
        None,
        description="off and on where the template can be told, or how hard; `false` also leaves "
        "thoughts out of the answer; refused by models that do not think, unless `false`",
    )
    logprobs: bool = Field(False, description="log-probabilities of the answer's tokens")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="0 to 20; needs `logprobs`")

    @model_validator(mode="after")
    def _complete(self) -> AnswerBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    def common(self, model: str, extra: dict[str, Any]) -> dict[str, Any]:
        """The fields of a task that follow from these; `extra` came by header."""
        fields = {"model": model, **self.options.fields(), **extra}
        if isinstance(self.think, bool):
            fields["thinking"] = self.think
        elif self.think is not None:
            fields["reasoning_effort"] = self.think
        if self.logprobs:
            fields["logprobs"] = self.top_logprobs or 0
        if self.format == "json":
            fields["response_format"] = {"type": "json_object"}
        elif self.format is not None:
            fields["response_format"] = {"type": "json_schema", "json_schema": self.format}
        return fields


class Function(Contract):
    """A function that the model called."""

    name: str
    arguments: dict[str, Any] = Field({})
    index: int | None = None


class Call(Contract):
    """A call that the model made in a former turn."""

    function: Function
    id: str | None = None
    type: Literal["function"] | None = None

    def as_task(self) -> dict[str, Any]:
        """The call as a task has it."""
        arguments = json.dumps(self.function.arguments, ensure_ascii=False)
        call = {
            "type": "function",
            "function": {"name": self.function.name, "arguments": arguments},
        }
        return call if self.id is None else {"id": self.id, **call}


def _no_images(given: Any) -> Any:
    if given:
        raise ValueError(_BLIND)
    return None


class Turn(Contract):
    """One message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Annotated[None, BeforeValidator(_no_images)] = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def as_task(self) -> dict[str, Any]:
        """The turn as a task has it."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        if self.thinking:
            turn["reasoning_content"] = self.thinking
        if self.tool_calls:
            turn["tool_calls"] = [call.as_task() for call in self.tool_calls]
        if self.tool_name is not None:
            turn["name"] = self.tool_name
        if self.tool_call_id is not None:
            turn["tool_call_id"] = self.tool_call_id
        return turn


class ToolFunction(Contract):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Contract):
    """A tool: functions are the only kind."""

    type: Literal["function"] = "function"
    function: ToolFunction


class OllamaChatBody(AnswerBody):
    """The body of ``POST /api/chat``."""

    messages: list[Turn] = Field([], description="none: load the model, or unload it")
    tools: list[Tool] | None = Field(None, description="functions")

    def task(self, model: str, extra: dict[str, Any]) -> TaskRequest:
        """The task.

        Raises:
            InvalidParams: every violation, under the names of this API.
        """
        fields = self.common(model, extra)
        fields |= {"workload": "chat", "messages": [turn.as_task() for turn in self.messages]}
        if self.tools:
            fields["tools"] = [tool.dump() for tool in self.tools]
        return task_named(fields, NAMES)


class OllamaGenerateBody(AnswerBody):
    """The body of ``POST /api/generate``."""

    prompt: str = Field("", description="empty: load the model, or unload it")
    system: str | None = Field(None, description="not with `raw`")
    raw: bool = Field(False, description="no chat template: the prompt as it is")

    @model_validator(mode="after")
    def _raw_has_no_system(self) -> OllamaGenerateBody:
        if self.raw and self.system:
            raise ValueError("system belongs to the chat template, which raw does without")
        return self

    def task(self, model: str, extra: dict[str, Any]) -> TaskRequest:
        """The task: a conversation of one turn, unless it is to be raw.

        Raises:
            InvalidParams: every violation, under the names of this API.
        """
        fields = self.common(model, extra)
        if self.raw:
            return task_named({**fields, "prompt": self.prompt}, NAMES)
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return task_named({**fields, "workload": "chat", "messages": messages}, NAMES)


class OllamaEmbedBody(OllamaModelBody):
    """The body of ``POST /api/embed``."""

    input: str | list[str] = Field(description="one text or several")

    @property
    def texts(self) -> list[str]:
        """The inputs, be it one."""
        return [self.input] if isinstance(self.input, str) else self.input


class OllamaEmbeddingsBody(OllamaModelBody):
    """The body of ``POST /api/embeddings``."""

    prompt: str = Field(description="one text")

    @property
    def texts(self) -> list[str]:
        """The one input."""
        return [self.prompt]


class OllamaShowBody(Contract):
    """The body of ``POST /api/show``."""

    model: str = Field(min_length=1, max_length=MAX_NAME, description=_MODEL)
    verbose: bool = Field(False, description="says the same: no token lists are told")


CHAT_REFUSED = {"truncate": No(_NO_CUT, (False,)), "shift": No(_NO_CUT, (False,))}
GENERATE_REFUSED = CHAT_REFUSED | {
    "context": No("conversations are `messages` of /api/chat", ([],)),
    "height": No("no model here paints"),
    "images": No(_BLIND, ([],)),
    "steps": No("no model here paints"),
    "suffix": No("models are asked to go on, not to fill in", ("",)),
    "template": No("the model's file has one; `raw` does without", ("",)),
    "width": No("no model here paints"),
}
EMBED_REFUSED = {
    "dimensions": No("vectors have the length that the model gives them"),
    "truncate": No(_NO_CUT, (False,)),
}
SHOW_REFUSED = {"name": No("`model` has taken its place")}
