"""The tools of a request: read, checked, and which of them may or must be called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rbee_agent.contracts.tasks import ToolChoice
from rbee_agent.errors import InvalidParams

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any]
    """The JSON Schema of its arguments."""
    strict: bool = False
    """Whether that holds also for calls that the model decides on."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The schema of its arguments, which are an object whatever the parameters leave open."""
        if self.parameters.get("type") == "object":
            return self.parameters
        return {**self.parameters, "type": "object"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be called, and what must be."""

    tools: tuple[Tool, ...] = ()
    must: tuple[Tool, ...] = ()
    """Where not empty the answer is a call to one of these."""
    several: bool = True
    """Whether one answer may hold more than one call."""

    @property
    def names(self) -> frozenset[str]:
        """What may be called."""
        return frozenset(tool.name for tool in self.tools)


def read_offer(tools: Sequence[dict[str, Any]] | None, choice: ToolChoice | None) -> Offer:
    """The tools of a request as its tool_choice means them.

    Raises:
        InvalidParams: a tool is no function with a name and an object of parameters, a name stands
            twice, or the choice names a tool that is not there.
    """
    found = tuple(_tool(tool, f"tools.{place}") for place, tool in enumerate(tools or ()))
    names = [tool.name for tool in found]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise _refused(f"tools.{place}", "two tools have this name")
    choice = choice or ToolChoice()
    if choice.mode == "none":
        return Offer()
    if choice.mode == "auto":
        return Offer(found, several=choice.parallel)
    if not found:
        raise _refused("tool_choice", "a call is asked for, but there are no tools")
    must = found
    if choice.mode == "named":
        must = tuple(tool for tool in found if tool.name == choice.name)
        if not must:
            raise _refused("tool_choice", "it names none of the tools")
        return Offer(found, must, several=False)
    return Offer(found, must, several=choice.parallel)


def _tool(tool: dict[str, Any], where: str) -> Tool:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise _refused(where, "a tool is {type: function, function: {name, parameters}}")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refused(f"{where}.function.name", "a name is 1 to 128 of A-Z a-z 0-9 _ . -")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(parameters, dict):
        raise _refused(f"{where}.function.parameters", "parameters are a JSON Schema object")
    return Tool(name, parameters, strict=function.get("strict") is True)


def _refused(field: str, message: str) -> InvalidParams:
    return InvalidParams([{"field": field, "constraint": "tools", "message": message}])
