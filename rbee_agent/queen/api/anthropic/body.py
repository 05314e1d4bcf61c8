"""What /v1/messages and its token counter take, and the task that it becomes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import MAX_NAME, Message, TaskRequest
from rbee_agent.contracts.workers import TemplateRequest
from rbee_agent.queen.api.anthropic.blocks import (
    Texts,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    messages_of,
)
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.task_fields import task_named

NAMES = {"stop": "stop_sequences"}
"""What a caller of this API calls the fields of a task, where that differs."""
_MODES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}


class Tool(Contract):
    """A function that the model may call; Anthropic's own tools run at Anthropic's only."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] = "custom"
    cache_control: dict[str, Any] | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    """Arguments always come as they are made."""

    def as_function(self) -> dict[str, Any]:
        """The tool as a task has it."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.input_schema}
        if self.description is not None:
            function["description"] = self.description
        return {"type": "function", "function": function}


class ToolChoice(Contract):
    """Whether and which tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False

    @model_validator(mode="after")
    def _named(self) -> ToolChoice:
        if (self.type == "tool") != (self.name is not None):
            raise ValueError("name belongs to the type tool, and that needs it")
        return self


class Thinking(Contract):
    """Whether the model thinks, and whether that is shown; no budget is held."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = Field(None, ge=1)
    display: Literal["summarized", "omitted"] | None = None

    @model_validator(mode="after")
    def _budget_has_its_place(self) -> Thinking:
        if self.budget_tokens is not None and self.type != "enabled":
            raise ValueError("budget_tokens belongs to the type enabled")
        return self


class JsonFormat(Contract):
    """The schema that the answer must have."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Contract):
    """What the answer must look like."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Metadata(Contract):
    """Who asks."""

    user_id: str | None = None


class CountBody(Contract):
    """The body of ``POST /v1/messages/count_tokens``."""

    model: str = Field(
        min_length=1, max_length=MAX_NAME, description="a name of `/v1/models`, or a reference"
    )
    messages: list[Turn] = Field(
        min_length=1, description="blocks: text, thinking, tool_use, tool_result; others refused"
    )
    system: Texts = Field([], description="text, or text blocks")
    tools: list[Tool] | None = Field(None, description="own tools; Anthropic's are refused")
    tool_choice: ToolChoice | None = Field(
        None, description="`any` and `tool` are enforced by a grammar"
    )
    thinking: Thinking | None = Field(
        None,
        description="`enabled` is refused by models that do not think, its budget is not held; "
        "`adaptive` is as when not given; `disabled` turns thinking off where the template can be "
        "told, and leaves it out of the answer",
    )
    output_config: OutputConfig | None = Field(
        None,
        description="`format` json_schema, enforced by a grammar; `effort` as the template has it",
    )
    cache_control: dict[str, Any] | None = Field(
        None, description="accepted, here and in blocks: prefixes are cached by themselves"
    )
    speed: Literal["standard"] | None = Field(None, description="`standard` only")

    @field_validator("messages")
    @classmethod
    def _in_their_places(cls, turns: list[Turn]) -> list[Turn]:
        if turns and turns[-1].role == "assistant":
            raise ValueError(
                "the last one is the assistant's: going on inside an answer is not supported"
            )
        for place, turn in enumerate(turns):
            for block in turn.content:
                own = isinstance(block, ThinkingBlock | ToolUseBlock)
                if own and turn.role != "assistant":
                    raise ValueError(f"message {place}: {block.type} belongs to the assistant")
                if isinstance(block, ToolResultBlock) and turn.role != "user":
                    raise ValueError(f"message {place}: tool_result belongs to the user")
        return turns

    @model_validator(mode="after")
    def _choice_is_there(self) -> CountBody:
        names = {tool.name for tool in self.tools or ()}
        choice = self.tool_choice
        if choice is not None and choice.type in ("any", "tool") and not names:
            raise ValueError("tool_choice needs tools")
        if choice is not None and choice.name is not None and choice.name not in names:
            raise ValueError("tool_choice names a tool that is not among the tools")
        return self

    def conversation(self) -> list[Message]:
        """The turns as chat templates know them."""
        return messages_of(self.system, self.messages)

    def wish(self) -> dict[str, Any]:
        """Whether the model is to think, and how hard."""
        found: dict[str, Any] = {}
        if self.thinking is not None and self.thinking.type != "adaptive":
            found["thinking"] = self.thinking.type == "enabled"
        if self.output_config is not None and self.output_config.effort is not None:
            found["reasoning_effort"] = self.output_config.effort
        return found

    def asked(self) -> TemplateRequest:
        """What the prompt is made of."""
        return TemplateRequest(messages=self.conversation(), tools=self.functions(), **self.wish())

    def functions(self) -> list[dict[str, Any]] | None:
        """The tools as a task has them; none where none may be called."""
        return [tool.as_function() for tool in self.tools] if self.tools else None


class MessagesBody(CountBody):
    """The body of ``POST /v1/messages``."""

    max_tokens: int = Field(description="at most so many tokens")
    stream: bool = Field(False, description="server-sent events, ended by message_stop")
    stop_sequences: list[str] | None = Field(None, description="up to 4")
    temperature: float | None = Field(None, description="0 to 2; not given: 0.7")
    top_p: float | None = Field(None, description="above 0, up to 1; not given: 0.95")
    top_k: int | None = Field(None, description="0: all; not given: 40")
    metadata: Metadata | None = Field(None, description="`user_id` names the session")
    service_tier: Literal["auto", "standard_only"] | None = Field(
        None, description="both are the class interactive: there is no other tier"
    )

    @property
    def shows_thinking(self) -> bool:
        """Whether thinking is a part of the answer."""
        hidden = self.thinking is not None and (
            self.thinking.type == "disabled" or self.thinking.display == "omitted"
        )
        return not hidden

    def task(self, extra: dict[str, Any]) -> TaskRequest:
        """The task; `extra` are fields that came by header.

        Raises:
            InvalidParams: every violation, under the names of this API.
        """
        fields: dict[str, Any] = {
            "model": self.model,
            "workload": "chat",
            "messages": self.conversation(),
            "max_tokens": self.max_tokens,
            "stop": self.stop_sequences or [],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "tools": self.functions(),
            **self.wish(),
        }
        if self.tools:
            fields["tool_choice"] = self._choice()
        if self.output_config is not None and self.output_config.format is not None:
            schema = self.output_config.format.schema_
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        given = {name: value for name, value in fields.items() if value is not None}
        return task_named(given | extra, NAMES)

    def _choice(self) -> dict[str, Any]:
        choice = self.tool_choice or ToolChoice(type="auto")
        return {
            "mode": _MODES[choice.type],
            "name": choice.name,
            "parallel": not choice.disable_parallel_tool_use,
        }


REFUSED = {
    "container": No("no code is run here"),
    "context_management": No("nothing is cut from a conversation"),
    "diagnostics": No("`rbee task explain` says where a task ran and why"),
    "inference_geo": No("a pool or region is chosen by `placement` of /v2"),
    "mcp_servers": No("no servers are called from here"),
    "user_profile_id": No("nothing here judges callers"),
    "workspace_id": No("keys belong to no workspace"),
}
