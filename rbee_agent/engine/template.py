"""Chat templates: the file's own Jinja in a sandbox, as Hugging Face's libraries run it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rbee_agent.contracts.tasks import Message, ThinkingWish
from rbee_agent.engine import thinking
from rbee_agent.engine.tools import told
from rbee_agent.engine.tools.calls import short_id
from rbee_agent.engine.tools.families import style_of, told_style
from rbee_agent.engine.tools.styles import Style
from rbee_agent.errors import InvalidParams

_PROBE = "rbee_probe"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation, up to where the assistant's answer begins."""

    text: str
    style: Style
    """How the model writes calls and thoughts here."""
    opened: str | None = None
    """The mark that ends the thought which the prompt has begun."""
    thinks: bool = False
    """Whether the template knows thoughts."""


class ChatTemplate:
    """Turns messages into the prompt that a model was trained on."""

    def __init__(self, source: str, *, bos: str, eos: str, for_tools: str | None = None) -> None:
        """Compile the template; one that does not compile refuses every conversation.

        Args:
            source: Jinja.
            bos: how the model writes the token that begins a text.
            eos: likewise the one that ends it.
            for_tools: another template for conversations with tools, where the file has one.
        """
        self.source = source
        self._special = {"bos_token": bos, "eos_token": eos}
        self.problem: str | None = None
        """Why the template is no use, in one sentence; None where it is sound."""
        environment = _environment()
        self._template = self._compiled(environment, self.source)
        self._for_tools = self._compiled(environment, for_tools) if for_tools else self._template
        tools_source = for_tools or self.source
        self._known = set() if self.problem is not None else _variables(environment, tools_source)
        self.knows_tools = bool(self._known & {"tools", "functions"})
        """Whether the template does something with `tools`; else we tell the model of them."""
        family = style_of(tools_source)
        self.style = family if self.knows_tools else told_style(family)
        self.thinks = any(mark in self.source for mark, _ in family.thoughts)
        self._knows_developer = "developer" in self.source
        self._arguments_as_text = self.knows_tools and self._wants_text()

    def told(self, wish: ThinkingWish, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The variables that tell the template whether to think, and those that were given.

        Raises:
            InvalidParams: it cannot be told.
        """
        return thinking.variables(wish, given, self._known, source=self.source, thinks=self.thinks)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] | None = None,
        variables: dict[str, Any] | None = None,
    ) -> Prompt:
        """The prompt, and how to read what comes behind it.

        Args:
            messages: the conversation.
            tools: what the model may call, as the OpenAI API has them.
            variables: further variables of the template, such as ``enable_thinking``.

        Raises:
            InvalidParams: the template refuses the messages (roles in a wrong order, say), or does
                not compile.
        """
        if self.problem is not None:
            raise _refused(self.problem)
        turns = [self._turn(message) for message in messages]
        style = self.style
        if self.knows_tools:
            text = self._render(turns, list(tools) if tools else None, variables or {})
        else:
            text = self._told(turns, tools, variables or {})
        end = text.rstrip()
        opened = next((close for mark, close in style.thinking if end.endswith(mark)), None)
        return Prompt(text, style, opened, self.thinks)

    def _told(
        self,
        turns: list[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        variables: dict[str, Any],
    ) -> str:
        """A conversation with tools for a template that knows none: they are told in words."""
        if not tools and not told.needed(turns):
            return self._render(turns, None, variables)
        try:
            return self._render(told.in_system(turns, tools), None, variables)
        except InvalidParams:
            # Some templates know no system turn; the first user turn does as well.
            return self._render(told.in_first_turn(turns, tools), None, variables)

    def _render(
        self,
        turns: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        variables: dict[str, Any],
    ) -> str:
        template = self._for_tools if tools else self._template
        values: dict[str, Any] = {"messages": turns, "tools": tools, "add_generation_prompt": True}
        if "functions" in self._known:
            # FireFunction's names for them.
            values["functions"] = json.dumps(tools or [], ensure_ascii=False, indent=4)
            values["datetime"] = _strftime_now("%b %d %Y %H:%M:%S %Z")
        given = {**variables, **values, **self._special}
        try:
            return template.render(**given)
        except Exception as error:
            # The template is a stranger's program: it may fail in any way.
            described = [_described(tool) for tool in tools or ()]
            if "description" in str(error) and described != tools:
                return self._render(turns, described, variables)
            raise _refused(f"the chat template refuses these messages: {error}") from error

    def _turn(self, message: Message) -> dict[str, Any]:
        turn = message.dump()
        turn["content"] = message.text()
        if message.role == "developer" and not self._knows_developer:
            turn["role"] = "system"
        if self.style.short_ids and turn.get("tool_call_id"):
            turn["tool_call_id"] = _short(turn["tool_call_id"])
        for call in turn.get("tool_calls", ()):
            if self.style.short_ids:
                call["id"] = _short(str(call.get("id", "")))
            if isinstance(call.get("function"), dict):
                _set_arguments(call["function"], as_text=self._arguments_as_text)
        return turn

    def _wants_text(self) -> bool:
        """Whether the template writes a call's arguments as they are, not as JSON of its own."""
        call = {
            "id": "123456789",
            "type": "function",
            "function": {"name": _PROBE, "arguments": {_PROBE: "1"}},
        }
        turns: list[dict[str, Any]] = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "!", "tool_call_id": "123456789", "name": _PROBE},
        ]
        offered = [
            {
                "type": "function",
                "function": {
                    "name": _PROBE,
                    "description": "",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ]
        try:
            text = self._render(turns, offered, {})
        except InvalidParams as error:
            return "concatenate" in error.message
        return f"'{_PROBE}': " in text

    def _compiled(self, environment: jinja2.Environment, source: str) -> jinja2.Template:
        try:
            return environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            self.problem = f"the chat template does not compile: {error}"
            return environment.from_string("")


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what a trainer learns from; for us its body is all there is."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _variables(environment: jinja2.Environment, source: str) -> set[str]:
    """What a template wants to be given."""
    return jinja2.meta.find_undeclared_variables(environment.parse(source))


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with an empty description wherever one may stand: some templates insist on them."""
    function = tool.get("function", {})
    parameters = function.get("parameters") or {}
    known = parameters.get("properties") or {}
    properties = {key: {"description": "", **value} for key, value in known.items()}
    told = {"description": "", **function, "parameters": {**parameters, "properties": properties}}
    return {**tool, "function": told}


def _set_arguments(function: dict[str, Any], *, as_text: bool) -> None:
    """Callers send the arguments as JSON text; most templates want them as a mapping."""
    arguments = function.get("arguments")
    if as_text and not isinstance(arguments, str):
        function["arguments"] = json.dumps(arguments or {}, ensure_ascii=False)
    elif not as_text and isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments)
        except ValueError:
            function["arguments"] = arguments


def _short(call_id: str) -> str:
    """The id itself where it is of nine letters and digits, else one made from it."""
    return call_id if len(call_id) == 9 and call_id.isalnum() else short_id(call_id, 0)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_plain,
    )


def _plain(value: Any) -> Any:
    """What a filter has made one after the other, as a list."""
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)


def _refused(message: str) -> InvalidParams:
    return InvalidParams([{"field": "messages", "constraint": "chat_template", "message": message}])
