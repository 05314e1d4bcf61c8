"""What /v1/responses takes, and the task that it becomes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import MAX_NAME, Effort, PlacementWish
from rbee_agent.queen.api.call import violation
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.openai.chat_body import EFFORT, SERVICE_TIERS, TOOL_NAME, turn

_NOT_KEPT = "answers are not kept for later requests"
_SAME = ("temperature", "top_p", "top_k", "min_p", "seed", "priority", "deadline_ms", "placement")
_LOGPROBS = "message.output_text.logprobs"

REFUSED = {
    "access_programs": No("there are none"),
    "background": No("hand the task in at /v2/tasks with `detach`", (False,)),
    "background_options": No("hand the task in at /v2/tasks with `detach`"),
    "context_management": No("a prompt that does not fit is refused, never cut"),
    "conversation": No(_NOT_KEPT),
    "image": No("no model here draws"),
    "max_tool_calls": No("there are no built-in tools"),
    "moderation": No("nothing here judges contents"),
    "previous_response_id": No(_NOT_KEPT),
    "prompt": No("there are no stored prompts"),
    "prompt_cache_options": No("prefixes are cached by themselves"),
    "prompt_cache_retention": No("prefixes are cached as long as there is room"),
    "safety_identifier": No("nothing here judges callers"),
    "store": No(_NOT_KEPT, (False,)),
    "truncation": No("a prompt that does not fit is refused, never cut", ("disabled",)),
}


class FunctionTool(Contract):
    """A function that the model may call."""

    type: Literal["function"]
    name: str = Field(pattern=TOOL_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Contract):
    """One function that must be called."""

    type: Literal["function"]
    name: str


class TextFormat(Contract):
    """The shape that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> TextFormat:
        if (self.type == "json_schema") != (self.schema_ is not None):
            raise ValueError("schema belongs to the type json_schema, and that needs it")
        return self


class TextConfig(Contract):
    """How the text is shaped."""

    format: TextFormat | None = None


class Reasoning(Contract):
    """How hard the model thinks; what it thinks is shown as it is, never summarized."""

    effort: Effort | None = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None


class ResponseStreamOptions(Contract):
    """How a stream is written."""

    include_obfuscation: Literal[False] = False


class ResponsesBody(Contract):
    """The body of ``POST /v1/responses``."""

    model: str = Field(
        min_length=1, max_length=MAX_NAME, description="a name of `/v1/models`, or a reference"
    )
    input: str | list[dict[str, Any]] = Field(
        description="text, or messages, function calls, their outputs and reasoning; other kinds "
        "of items, images and sound are refused by their place"
    )
    instructions: str | None = Field(None, description="the system message")
    max_output_tokens: int | None = Field(None, description="at most so many tokens")
    temperature: float | None = Field(None, description="0 to 2; not given: 0.7")
    top_p: float | None = Field(None, description="above 0, up to 1; not given: 0.95")
    top_logprobs: int | None = Field(None, description="0 to 20")
    include: list[Literal["message.output_text.logprobs"]] | None = Field(
        None, description=f"`{_LOGPROBS}` alone; what belongs to other tools is refused"
    )
    text: TextConfig | None = Field(
        None, description="`format`, enforced by a grammar; `verbosity` is refused"
    )
    reasoning: Reasoning | None = Field(
        None, description=f"`effort`: {EFFORT}; `summary` only `auto`: thoughts are shown whole"
    )
    tools: list[FunctionTool] | None = Field(
        None, description="functions; OpenAI's own tools are refused"
    )
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = Field(
        None, description="`required` and a named function are enforced by a grammar"
    )
    parallel_tool_calls: bool = Field(True, description="`false`: at most one call")
    stream: bool = Field(False, description="server-sent events, as OpenAI names them")
    stream_options: ResponseStreamOptions | None = Field(
        None, description="of `include_obfuscation` only `false`"
    )
    metadata: dict[str, str] | None = Field(None, description="given back with the answer")
    prompt_cache_key: str | None = Field(None, description="names the session")
    user: str | None = Field(None, description="names the session")
    service_tier: Literal["auto", "default", "flex"] | None = Field(
        None, description="`flex` is the class batch; other tiers are refused"
    )
    seed: int | None = Field(None, ge=0, description="as in /v2")
    top_k: int | None = Field(None, description="as llama.cpp has it; not given: 40")
    min_p: float | None = Field(None, description="as llama.cpp has it; not given: 0.05")
    priority: Literal["interactive", "batch"] | None = Field(None, description="as in /v2")
    deadline_ms: int | None = Field(None, description="as in /v2")
    placement: PlacementWish | None = Field(None, description="as in /v2")

    @model_validator(mode="after")
    def _complete(self) -> ResponsesBody:
        if self.tool_choice not in (None, "none") and not self.tools:
            raise ValueError("tool_choice needs tools")
        if isinstance(self.tool_choice, NamedFunction):
            name = self.tool_choice.name
            if not any(tool.name == name for tool in self.tools or ()):
                raise ValueError("tool_choice names a function that is not among the tools")
        return self

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities are asked for, by either of the two ways."""
        return self.top_logprobs is not None or bool(self.include)

    def fields(self) -> dict[str, Any]:
        """The fields of the task.

        Raises:
            InvalidParams: an item of the input cannot be read.
        """
        fields: dict[str, Any] = {
            name: value for name in _SAME if (value := getattr(self, name)) is not None
        }
        fields |= {"model": self.model, "workload": "chat", "messages": self._messages()}
        if self.max_output_tokens is not None:
            fields["max_tokens"] = self.max_output_tokens
        if self.wants_logprobs:
            fields["logprobs"] = self.top_logprobs or 0
        if self.text is not None and self.text.format is not None:
            wanted = self.text.format
            fields["response_format"] = {"type": wanted.type, "json_schema": wanted.schema_}
        if self.tools:
            fields["tools"] = [_nested(tool) for tool in self.tools]
            fields["tool_choice"] = self._choice()
        if self.reasoning is not None and self.reasoning.effort is not None:
            fields["reasoning_effort"] = self.reasoning.effort
        if self.service_tier is not None:
            fields.setdefault("priority", SERVICE_TIERS[self.service_tier])
        return fields

    def _choice(self) -> dict[str, Any]:
        if isinstance(self.tool_choice, NamedFunction):
            mode, name = "named", self.tool_choice.name
        else:
            mode, name = self.tool_choice or "auto", None
        return {"mode": mode, "name": name, "parallel": self.parallel_tool_calls}

    def _messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.instructions is not None:
            found.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        reader = _ItemReader(found)
        for place, item in enumerate(self.input):
            reader.take(item, place)
        return found


class _ItemReader:
    """Turns items into messages: what an assistant thought, said and called is one turn."""

    def __init__(self, into: list[dict[str, Any]]) -> None:
        self._messages = into
        self._thought: str | None = None

    def take(self, item: dict[str, Any], place: int) -> None:
        """Take the next item.

        Raises:
            InvalidParams: it is of a kind that cannot be read.
        """
        kind = item.get("type", "message")
        try:
            if kind == "message":
                self._message(item, place)
            elif kind == "reasoning":
                parts = item.get("content") or item.get("summary") or ()
                self._thought = "".join(part["text"] for part in parts) or None
            elif kind == "function_call":
                self._call(item)
            elif kind == "function_call_output":
                content = item["output"]
                self._messages.append(
                    {"role": "tool", "tool_call_id": item["call_id"], "content": content}
                )
            else:
                raise violation(f"input.{place}", "items of this type belong to tools not here")
        except (KeyError, TypeError) as error:
            raise violation(f"input.{place}", "the item is not complete") from error

    def _message(self, item: dict[str, Any], place: int) -> None:
        kept: dict[str, Any] = {key: item[key] for key in ("role", "content") if key in item}
        message = turn(kept, f"input.{place}")
        if message.get("role") == "assistant" and self._thought is not None:
            message["reasoning_content"], self._thought = self._thought, None
        self._messages.append(message)

    def _call(self, item: dict[str, Any]) -> None:
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant":
            last = {"role": "assistant", "content": None}
            if self._thought is not None:
                last["reasoning_content"], self._thought = self._thought, None
            self._messages.append(last)
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        last.setdefault("tool_calls", []).append(call)


def _nested(tool: FunctionTool) -> dict[str, Any]:
    """A tool as chat templates know it."""
    shown = tool.dump()
    del shown["type"]
    return {"type": "function", "function": shown}
