"""Calls as Python writes them, and what Llama writes behind its python tag."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any, Protocol

from rbee_agent.engine.tools.read_json import Chars, Malformed, Step, escaped, until
from rbee_agent.engine.tools.tagged import MAX_NAME, Receiver

INTERPRETERS = ("python", "code_interpreter", "ipython")
"""Tools to which bare code is given, as ``{"code": …}``."""
_CALL = ".call("
_JSON_WORDS = {"true": True, "false": False, "null": None}


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


def called(call: Receiver, chars: Chars) -> Step[None]:
    """``NAME(key=value, …)``.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    call.begin()
    name = (yield from until(chars, "(", MAX_NAME)).strip()
    if name not in call.tools:
        raise Malformed
    order = list(call.tools[name].get("properties") or {})
    arguments = _keywords((yield from _inside(chars)), order)
    call.named(name)
    call.argument(arguments)
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
    call.argument('{"code": "' + escaped(text))
    call.in_code = True
    while True:
        call.argument(escaped((yield from chars.next())))


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


def _keywords(text: str, order: Sequence[str] = ()) -> str:
    """Arguments as JSON; those without a name have that of their place in `order`."""
    try:
        tree = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(tree, ast.Call)  # noqa: S101 - as it was written
        placed = zip(order, tree.args, strict=False)
        if len(tree.args) > len(order):
            raise Malformed
        found = {name: _literal(value) for name, value in placed}
        found |= {one.arg or "": _literal(one.value) for one in tree.keywords}
        return json.dumps(found, ensure_ascii=False)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise Malformed from error


def _literal(node: ast.expr) -> Any:
    """A value; JSON's own words for truth and nothing are known too."""
    return ast.literal_eval(_Words().visit(node))


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in _JSON_WORDS:
            return ast.copy_location(ast.Constant(_JSON_WORDS[node.id]), node)
        return node
