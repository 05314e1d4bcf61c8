"""Calls whose arguments stand between tags, each as bare text: Qwen 3 Coder's and GLM's way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from rbee_agent.engine.tools import read_json
from rbee_agent.engine.tools.read_json import Chars, Malformed, Step

_MAX_NAME = 128


class Receiver(Protocol):
    """Takes the parts of a call."""

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """Names that may be called, with their parameters."""

    def begin(self) -> None:
        """A call begins."""

    def named(self, name: str) -> None:
        """Its name."""

    def argument(self, text: str) -> None:
        """More of its arguments."""

    def end(self) -> None:
        """It is whole."""


def tags(call: Receiver, chars: Chars, *, named: bool) -> Step[None]:
    """``<function=NAME><parameter=KEY>VALUE</parameter>…</function>``.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    if not named:
        yield from read_json.expect(chars, "<function=")
    call.begin()
    name = (yield from until(chars, ">", _MAX_NAME)).strip()
    call.named(name)
    pairs = _Pairs(call, name)
    while True:
        yield from read_json.expect(chars, "<")
        if (yield from chars.next()) == "/":
            yield from read_json.expect(chars, "function>")
            break
        yield from read_json.expect(chars, "arameter=")
        key = yield from until(chars, ">", _MAX_NAME)
        pairs.add(key.strip(), _unframed((yield from until(chars, "</parameter>"))))
    pairs.close()


def pairs(call: Receiver, chars: Chars) -> Step[None]:
    """``NAME <arg_key>KEY</arg_key><arg_value>VALUE</arg_value>… </tool_call>``.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    call.begin()
    name = (yield from until(chars, "<", _MAX_NAME)).strip()
    call.named(name)
    found = _Pairs(call, name)
    while (letter := (yield from chars.next())) != "/":
        if letter != "a":
            raise Malformed
        yield from read_json.expect(chars, "rg_key>")
        key = yield from until(chars, "</arg_key>", _MAX_NAME)
        yield from read_json.expect(chars, "<arg_value>")
        found.add(key.strip(), (yield from until(chars, "</arg_value>")))
        yield from read_json.expect(chars, "<")
    yield from read_json.expect(chars, "tool_call>")
    found.close()


def until(chars: Chars, end: str, most: int | None = None) -> Step[str]:
    """The text before `end`, which is read too.

    Raises:
        Malformed: there are more than `most` characters before it.
    """
    text = ""
    while not text.endswith(end):
        text += yield from chars.next()
        if most is not None and len(text) > most + len(end):
            raise Malformed
    return text[: -len(end)]


class _Pairs:
    """Writes the arguments' object, a member at a time."""

    def __init__(self, call: Receiver, name: str) -> None:
        self._call = call
        self._known = call.tools[name].get("properties") or {}
        self._any = False

    def add(self, key: str, value: str) -> None:
        head = ", " if self._any else "{"
        self._any = True
        self._call.argument(f"{head}{json.dumps(key)}: {self._json(key, value)}")

    def close(self) -> None:
        self._call.argument("}" if self._any else "{}")
        self._call.end()

    def _json(self, key: str, value: str) -> str:
        """Bare text as the parameter's type wants it: text as a string, all else as JSON."""
        wanted = self._known.get(key)
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind == "string":
            return json.dumps(value, ensure_ascii=False)
        try:
            json.loads(value)
        except ValueError:
            return json.dumps(value, ensure_ascii=False)
        return value.strip()


def _unframed(value: str) -> str:
    """Without the line ends that stand between a value and its tags."""
    return value.removeprefix("\n").removesuffix("\n")
