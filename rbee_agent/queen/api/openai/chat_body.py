"""What /v1/chat/completions takes, and the task that it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import Effort
from rbee_agent.queen.api.call import violation
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.openai.bodies import GenerationBody, one_limit
from rbee_agent.queen.api.openai.elsewhere import CHAT_ELSEWHERE

_NOT_KEPT = "answers are not kept for later requests"
_EMPTY_ANYWAY = ("refusal", "audio", "function_call", "annotations", "tool_calls", "reasoning")
"""What answers hold empty, and callers send back."""

EFFORT = (
    "as the chat template knows it; on and off alone: `none` and `minimal` are off; refused by "
    "models that do not think"
)
TOOL_NAME = r"^[A-Za-z0-9_.-]{1,128}$"
SERVICE_TIERS = {"auto": "interactive", "default": "interactive", "flex": "batch"}


class Function(Contract):
    """A function that the model may call."""

    name: str = Field(pattern=TOOL_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Contract):
    """A tool: functions are the only kind."""

    type: Literal["function"]
    function: Function
    cache_control: dict[str, Any] | None = Field(None, exclude=True)
    """Accepted: prefixes are cached by themselves."""


class Named(Contract):
    """The name of a function."""

    name: str


class NamedTool(Contract):
    """One function that must be called."""

    type: Literal["function"] = "function"
    function: Named


class Allowed(Contract):
    """Some of the tools, and whether one must be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1)


class AllowedTools(Contract):
    """OpenAI's way to narrow the tools of one request."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


def _is_choice(given: Any) -> Any:
    """A choice by its own type, so that a violation is told once and not for each kind."""
    if not isinstance(given, dict):
        return given
    kind = given.get("type", "function")
    if kind in ("none", "auto", "required", "any"):
        return kind
    if kind == "allowed_tools":
        return AllowedTools.model_validate(given)
    if kind == "function":
        return NamedTool.model_validate(given)
    raise ValueError("none, auto, required, a function, or allowed_tools")


Choice = Annotated[
    Literal["none", "auto", "required", "any"] | NamedTool | AllowedTools | None,
    BeforeValidator(_is_choice),
]


class Schema(Contract):
    """OpenAI's wrapper of a JSON Schema."""

    name: str = Field("answer", max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class Format(Contract):
    """The shape that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """llama.cpp's way: the bare schema beside the type."""

    @model_validator(mode="after")
    def _has_its_schema(self) -> Format:
        schemas = [one for one in (self.json_schema, self.schema_) if one is not None]
        if self.type == "json_schema" and len(schemas) != 1:
            raise ValueError("the type json_schema needs json_schema")
        if self.json_schema is not None and self.type != "json_schema":
            raise ValueError("json_schema belongs to the type json_schema")
        if self.schema_ is not None and self.type == "text":
            raise ValueError("schema belongs to the types json_object and json_schema")
        return self


class ChatBody(GenerationBody):
    """The body of ``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="text parts only; images and sound are refused by their place"
    )
    max_completion_tokens: int | None = Field(None, description="the newer name of `max_tokens`")
    logprobs: bool = Field(False, description="log-probabilities of the answer's tokens")
    top_logprobs: int | None = Field(None, description="0 to 20; needs `logprobs`")
    response_format: Format | None = Field(
        None, description="`json_object` and `json_schema` are enforced by a grammar"
    )
    tools: list[Tool] | None = Field(None, description="functions; other kinds are refused")
    tool_choice: Choice = Field(
        None,
        description="`required`, also as `any`, and a named function are enforced by a grammar; of "
        "`allowed_tools` the others are not shown to the model",
    )
    parallel_tool_calls: bool = Field(True, description="`false`: at most one call")
    prompt_cache_key: str | None = Field(
        None, description="names the session: its prefix is kept warm on one worker"
    )
    reasoning_effort: Effort | None = Field(None, description=EFFORT)
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="variables of the chat template; those that it does not know are refused"
    )
    service_tier: Literal["auto", "default", "flex"] | None = Field(
        None, description="`flex` is the class batch; `scale`, `priority`, `fast` are refused"
    )

    @model_validator(mode="after")
    def _complete(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("tool_choice needs tools")
        offered = {tool.function.name for tool in self.tools or ()}
        if not self._chosen <= offered:
            raise ValueError("tool_choice names a function that is not among the tools")
        if self.structured_outputs is not None and self.response_format is not None:
            raise ValueError("give one of response_format and structured_outputs")
        return self

    @property
    def _chosen(self) -> set[str]:
        """The functions that the choice names."""
        if isinstance(self.tool_choice, NamedTool):
            return {self.tool_choice.function.name}
        if isinstance(self.tool_choice, AllowedTools):
            return {tool.function.name for tool in self.tool_choice.allowed_tools.tools}
        return set()

    def fields(self) -> dict[str, Any]:
        """The fields of the task, but for its seed.

        Raises:
            InvalidParams: a message holds what cannot be read.
        """
        fields = self.common()
        fields["workload"] = "chat"
        fields["messages"] = [
            turn(one, f"messages.{place}") for place, one in enumerate(self.messages)
        ]
        limit = one_limit(fields.get("max_tokens"), self.max_completion_tokens)
        if limit is not None:
            fields["max_tokens"] = limit
        if self.logprobs:
            fields["logprobs"] = self.top_logprobs or 0
        if self.response_format is not None:
            fields["response_format"] = format_of(self.response_format)
        if self.tools:
            narrowed = self._chosen if isinstance(self.tool_choice, AllowedTools) else None
            fields["tools"] = [
                tool.dump()
                for tool in self.tools
                if narrowed is None or tool.function.name in narrowed
            ]
            fields["tool_choice"] = self._choice()
        for name in ("reasoning_effort", "chat_template_kwargs"):
            if getattr(self, name) is not None:
                fields[name] = getattr(self, name)
        if self.service_tier is not None:
            fields.setdefault("priority", SERVICE_TIERS[self.service_tier])
        return fields

    def _choice(self) -> dict[str, Any]:
        if isinstance(self.tool_choice, NamedTool):
            mode, name = "named", self.tool_choice.function.name
        elif isinstance(self.tool_choice, AllowedTools):
            mode, name = self.tool_choice.allowed_tools.mode, None
        else:
            mode, name = self.tool_choice or "auto", None
            mode = "required" if mode == "any" else mode
        return {"mode": mode, "name": name, "parallel": self.parallel_tool_calls}


REFUSED = CHAT_ELSEWHERE | {
    "audio": No("no model here speaks"),
    "function_call": No("`tool_choice` has taken its place", ("none", "auto")),
    "functions": No("`tools` has taken its place", ([],)),
    "metadata": No(_NOT_KEPT, ({},)),
    "modalities": No("answers are text", (["text"],)),
    "moderation": No("nothing here judges contents"),
    "prediction": No("there is no predicted output"),
    "prompt_cache_options": No("prefixes are cached by themselves"),
    "prompt_cache_retention": No(
        "prefixes are cached as long as there is room", ("in_memory", "in-memory")
    ),
    "safety_identifier": No("nothing here judges callers"),
    "store": No(_NOT_KEPT, (False,)),
    "verbosity": No("how long an answer is, is the model's own", ("medium",)),
    "web_search_options": No("nothing here searches"),
}


def turn(message: dict[str, Any], where: str) -> dict[str, Any]:
    """A message without what answers hold empty.

    Raises:
        InvalidParams: it holds something that only another API can read.
    """
    found = {name: value for name, value in message.items() if value is not None}
    for name in _EMPTY_ANYWAY:
        if name in found and not found[name]:
            del found[name]
    for name in ("audio", "function_call"):
        if name in found:
            raise violation(f"{where}.{name}", "is not supported")
    if "reasoning" in found:
        # vLLM's and OpenRouter's name of it.
        found.setdefault("reasoning_content", found.pop("reasoning"))
    # Chat UIs send along what they know a message by.
    found.pop("id", None)
    if found.get("role") == "tool":
        found.setdefault("content", "")
    if found.get("role") != "assistant" and "content" not in found:
        raise violation(f"{where}.content", "is missing")
    if found.get("role") == "developer":
        # OpenAI's newer name; the templates of model files know the older one.
        found["role"] = "system"
    return found


def format_of(wanted: Format) -> dict[str, Any]:
    """A response format as a task has it: the bare schema."""
    schema = wanted.json_schema.schema_ if wanted.json_schema is not None else wanted.schema_
    if schema is not None:
        return {"type": "json_schema", "json_schema": schema}
    return {"type": wanted.type}
