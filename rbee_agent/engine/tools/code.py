"""What Llama writes behind its python tag: a built-in tool's call, or code to run."""

from __future__ import annotations

import ast
import json
from typing import Protocol

from rbee_agent.engine.tools.read_json import Chars, Malformed, Step
from rbee_agent.engine.tools.tagged import Receiver

INTERPRETERS = ("python", "code_interpreter", "ipython")
"""Tools to which bare code is given, as ``{"code": …}``."""
_CALL = ".call("


class Coder(Receiver, Protocol):
    """Takes a call whose only argument goes on to the end of the answer."""

    in_code: bool


def code(call: Coder, chars: Chars) -> Step[None]:
    """``NAME.call(key="value")``, else code for an interpreter that was offered.

    Raises:
        Malformed: it is neither.
    """
    call.begin()
    text = ""
    while not text.endswith(_CALL):
        text += yield from chars.next()
        name = text.partition(".")[0]
        if not _may_be_call(text, name, list(call.tools)):
            yield from _interpreted(call, chars, text)
            return
    arguments = yield from _inside(chars)
    call.named(text.removesuffix(_CALL))
    call.argument(_keywords(arguments))
    call.end()


def _may_be_call(text: str, name: str, tools: list[str]) -> bool:
    if "." not in text:
        return any(tool.startswith(text) for tool in tools)
    return name in tools and f"{name}{_CALL}".startswith(text)


def _interpreted(call: Coder, chars: Chars, text: str) -> Step[None]:
    tool = next((name for name in INTERPRETERS if name in call.tools), None)
    if tool is None:
        raise Malformed
    call.named(tool)
    call.argument('{"code": "' + _escaped(text))
    call.in_code = True
    while True:
        call.argument(_escaped((yield from chars.next())))


def _inside(chars: Chars) -> Step[str]:
    """Up to the bracket that closes the call; brackets in texts do not count."""
    text, quote, depth = "", "", 1
    while True:
        letter = yield from chars.next()
        if quote:
            if letter == "\\":
                letter += yield from chars.next()
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if not depth:
                return text
        text += letter


def _keywords(text: str) -> str:
    try:
        tree = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(tree, ast.Call)  # noqa: S101 - as it was written
        found = {one.arg or "": ast.literal_eval(one.value) for one in tree.keywords}
        return json.dumps(found, ensure_ascii=False)
    except (SyntaxError, ValueError, TypeError) as error:
        raise Malformed from error


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
