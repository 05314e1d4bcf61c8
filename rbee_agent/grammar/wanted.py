"""What a request wants its answer to be: checked where it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee_agent.contracts.tasks import ResponseFormat, ToolChoice
from rbee_agent.errors import InvalidParams
from rbee_agent.grammar.compile import compile_schema
from rbee_agent.grammar.gbnf import Grammar
from rbee_agent.grammar.offer import Offer, Tool, read_offer

FIELD = "response_format.json_schema"
JSON_OBJECT: dict[str, Any] = {"type": "object"}


def wanted_schema(wanted: ResponseFormat | None) -> Any:
    """The schema of a response format; None for plain text.

    Raises:
        InvalidParams: a schema was announced and is not there.
    """
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JSON_OBJECT
    if wanted.json_schema is None:
        raise _refused(FIELD, "json_schema needs a schema")
    return wanted.json_schema


def arguments_field(tool: Tool) -> str:
    """How refusals call the parameters of a tool."""
    return f"tools.{tool.name}.parameters"


def check(
    *,
    response_format: ResponseFormat | None,
    grammar: str | None,
    tools: Sequence[dict[str, Any]] | None,
    tool_choice: ToolChoice | None,
    has_messages: bool,
) -> Offer:
    """Refuse what no worker could do, before a task is accepted; the tools as they are meant.

    Raises:
        InvalidParams: a schema cannot be enforced, or tools and shapes contradict each other.
    """
    offer = read_offer(tools, tool_choice)
    shaped = wanted_schema(response_format) is not None
    if tools and not has_messages:
        raise _refused("tools", "tools need messages")
    if grammar is not None and (shaped or offer.must):
        raise _refused("grammar", "it stands beside response_format or a call that must be made")
    schema = wanted_schema(response_format)
    if schema is not None:
        compile_schema(schema, Grammar(), field=FIELD, prefix="s")
    for tool in offer.must or [tool for tool in offer.tools if tool.strict]:
        field = arguments_field(tool)
        compile_schema(tool.arguments, Grammar(), field=field, prefix="s")
    return offer


def _refused(field: str, message: str) -> InvalidParams:
    return InvalidParams([{"field": field, "constraint": "json_schema", "message": message}])
