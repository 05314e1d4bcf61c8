"""Chat templates: the file's own Jinja in a sandbox, as Hugging Face's libraries run it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rbee_agent.contracts.tasks import Message
from rbee_agent.errors import InvalidParams

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""What files without a template get: the most common form."""


class ChatTemplate:
    """Turns messages into the prompt that a model was trained on."""

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        """Compile the template; `bos` and `eos` are how the model writes those tokens.

        Raises:
            InvalidParams: the template does not compile.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _strftime_now
        self.source = source or CHATML
        self._special = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise _refused(f"the chat template does not compile: {error}") from error

    @property
    def knows_tools(self) -> bool:
        """Whether the template does something with `tools`."""
        return "tools" in self.source

    def render(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None) -> str:
        """The prompt, up to where the assistant's answer begins.

        Raises:
            InvalidParams: the template refuses the messages (roles in a wrong order, say).
        """
        turns = [_turn(message) for message in messages]
        try:
            return self._template.render(
                messages=turns, tools=tools, add_generation_prompt=True, **self._special
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise _refused(f"the chat template refuses these messages: {error}") from error


def _turn(message: Message) -> dict[str, Any]:
    turn = message.dump()
    turn["content"] = message.text()
    for call in turn.get("tool_calls", ()):
        function = call.get("function", {})
        if isinstance(function.get("arguments"), str):
            # Templates want the arguments as a mapping; callers send them as JSON text.
            try:
                function["arguments"] = json.loads(function["arguments"])
            except ValueError:
                continue
    return turn


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)


def _refused(message: str) -> InvalidParams:
    return InvalidParams([{"field": "messages", "constraint": "chat_template", "message": message}])
