"""Calls whose arguments stand between tags, each as bare text."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any, Protocol

from rbee_agent.engine.tools import read_json
from rbee_agent.engine.tools.read_json import Chars, Malformed, Step, until
from rbee_agent.engine.tools.styles import Markup

MAX_NAME = 128
"""Characters of a name, at most."""
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_KINDS: dict[type, str] = {
    str: "string", bool: "boolean", int: "integer", float: "number",
    list: "array", dict: "object", type(None): "null",
}  # fmt: skip


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


def tags(call: Receiver, chars: Chars, form: Markup, *, inside: bool) -> Step[None]:
    """A call between the tags of `form`; `inside`: up to its name all is read.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    if not inside:
        yield from read_json.expect(chars, form.call)
    call.begin()
    name, _ = _named((yield from until(chars, form.tag_end, MAX_NAME)))
    call.named(name)
    found = _Pairs(call, name)
    try:
        while (yield from read_json.either(chars, form.argument, form.end)) == form.argument:
            key, attributes = _named((yield from until(chars, form.tag_end, MAX_NAME)))
            if found.is_text(key, attributes):
                yield from found.text(chars, key, form.end_argument, _openings(call, name, form))
            else:
                value = yield from until(chars, form.end_argument)
                found.add(key, _unframed(value), json_only='string="false"' in attributes)
    except Malformed:
        # Somebody has seen the call, and its arguments are whole as far as they go.
        pass
    found.close()


def _openings(call: Receiver, name: str, form: Markup) -> tuple[str, ...]:
    """The tags of all arguments: where a model leaves a closing tag out, the next one stands."""
    quote = '"' if form.argument.endswith('"') else ""
    known = call.tools[name].get("properties") or {}
    return tuple(f"\n{form.argument}{key}{quote}{form.tag_end}" for key in known)


def pairs(call: Receiver, chars: Chars) -> Step[None]:
    """``NAME <arg_key>KEY</arg_key><arg_value>VALUE</arg_value>… </tool_call>``.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    call.begin()
    name = (yield from until(chars, "<", MAX_NAME)).strip()
    call.named(name)
    chars.put_back("<")
    found = _Pairs(call, name)
    while (yield from read_json.either(chars, "<arg_key>", "</tool_call>")) == "<arg_key>":
        key = (yield from until(chars, "</arg_key>", MAX_NAME)).strip()
        yield from read_json.expect(chars, "<arg_value>")
        if found.is_text(key, ""):
            yield from found.text(chars, key, "</arg_value>")
        else:
            found.add(key, (yield from until(chars, "</arg_value>")))
    found.close()


class _Pairs:
    """Writes the arguments' object, a member at a time."""

    def __init__(self, call: Receiver, name: str) -> None:
        self._call = call
        self._known = call.tools[name].get("properties") or {}
        self._any = False

    def is_text(self, key: str, attributes: str) -> bool:
        """Whether the value can only be text, so that it is passed on while it is written."""
        if 'string="' in attributes or 'type="' in attributes:
            return 'string="true"' in attributes or 'type="string"' in attributes
        return kinds(self._known.get(key)) == {"string"}

    def text(self, chars: Chars, key: str, end: str, openings: tuple[str, ...] = ()) -> Step[None]:
        """A value that is text, up to `end`; the line ends that frame it are left out.

        Where one of `openings` stands instead of the end, that is put back.
        """
        self._key(key)
        first = yield from chars.next()
        if first == "<" and (yield from _is_cdata(chars)):
            yield from read_json.quoted(chars, (_CDATA_END,), self._call.argument)
            yield from read_json.expect(chars, end)
            return
        framed = first == "\n"
        if not framed:
            chars.put_back(first)
        ends = (end, f"\n{end}", *openings) if framed else (end,)
        found = yield from read_json.quoted(chars, ends, self._call.argument)
        if found in openings:
            chars.put_back(found)

    def add(self, key: str, value: str, *, json_only: bool = False) -> None:
        """A value as its type wants it."""
        wanted = frozenset() if json_only else kinds(self._known.get(key))
        self._key(key)
        self._call.argument(typed(value, wanted))

    def close(self) -> None:
        """There are no more."""
        self._call.argument("}" if self._any else "{}")
        self._call.end()

    def _key(self, key: str) -> None:
        self._call.argument(f"{', ' if self._any else '{'}{json.dumps(key)}: ")
        self._any = True


def _named(head: str) -> tuple[str, str]:
    """What stands in an opening tag: a name, be it quoted, and attributes behind it."""
    name, _, attributes = head.strip().lstrip('"').partition('"')
    return name.strip(), attributes


def _is_cdata(chars: Chars) -> Step[bool]:
    """Whether the text goes on as CDATA does behind its first letter; else it is put back."""
    read = "<"
    while read != _CDATA:
        read += yield from chars.next()
        if not _CDATA.startswith(read):
            chars.put_back(read[1:])
            return False
    return True


def kinds(schema: Any) -> frozenset[str]:
    """The types that a parameter may have; empty where its schema does not tell."""
    if not isinstance(schema, dict):
        return frozenset()
    if isinstance(kind := schema.get("type"), str | list):
        return frozenset([kind] if isinstance(kind, str) else kind)
    if isinstance(values := schema.get("enum"), list):
        return frozenset(_KINDS.get(type(value), "") for value in values)
    choices = schema.get("anyOf") or schema.get("oneOf") or ()
    found = [kinds(choice) for choice in choices]
    return frozenset().union(*found) if all(found) else frozenset()


def typed(value: str, wanted: frozenset[str]) -> str:
    """Bare text as JSON of a wanted type, as text where it is none."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
            kind = _KINDS.get(type(found), "")
            fits = not wanted or kind in wanted or (kind == "integer" and "number" in wanted)
            if fits and (read is json.loads or (wanted and kind != "string")):
                return value.strip() if read is json.loads else json.dumps(found)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return json.dumps(value, ensure_ascii=False)


def _unframed(value: str) -> str:
    """Without the line ends that stand between a value and its tags."""
    return value[1:].removesuffix("\n") if value.startswith("\n") else value
