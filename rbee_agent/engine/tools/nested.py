"""Calls whose arguments are tags inside tags, as MiniMax M3 writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rbee_agent.engine.tools.read_json import Chars, Malformed, Step, until
from rbee_agent.engine.tools.tagged import MAX_NAME, Receiver, kinds, typed

MARK = "]<]minimax[>["
"""Stands before every tag."""
_OPENING = re.compile(r"<([^<>/]+)>(.*)", re.DOTALL)
_NEST = frozenset({"object", "array"})


def call(into: Receiver, chars: Chars) -> Step[None]:
    """A call, its opening tag being read up to the name.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    into.begin()
    name = (yield from until(chars, '">', MAX_NAME)).strip()
    if name not in into.tools:
        raise Malformed
    text = yield from until(chars, f"{MARK}</invoke>")
    arguments = _members(iter(text.split(MARK)[1:]), into.tools[name], None)
    into.named(name)
    into.argument(_joined(arguments))
    into.end()


Member = tuple[str, str]
"""A name and its value as JSON."""


def _members(pieces: Iterator[str], schema: Any, closing: str | None) -> list[Member]:
    found: list[Member] = []
    for piece in pieces:
        if closing is not None and piece.startswith(f"</{closing}>"):
            return found
        opened = _OPENING.match(piece)
        if opened is None:
            raise Malformed
        found.append((opened[1], _value(pieces, _schema_of(schema, opened[1]), *opened.groups())))
    if closing is not None:
        raise Malformed
    return found


def _value(pieces: Iterator[str], schema: Any, name: str, text: str) -> str:
    wanted = kinds(schema)
    if wanted and not wanted & _NEST:
        # Whatever looks like a tag is text.
        for piece in pieces:
            if piece.startswith(f"</{name}>"):
                return typed(text, wanted)
            text += MARK + piece
        raise Malformed
    inner = _members(pieces, schema, name)
    if not inner:
        return typed(text, wanted)
    if "array" in wanted or ("object" not in wanted and {key for key, _ in inner} == {"item"}):
        return f"[{', '.join(value for _, value in inner)}]"
    return _joined(inner)


def _schema_of(schema: Any, name: str) -> Any:
    """The schema of a member, or of a list's items."""
    if not isinstance(schema, dict):
        return None
    for one in (schema, *(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        known = (one.get("properties") or {}).get(name)
        if known is not None:
            return known
        if name == "item" and "items" in one:
            return one["items"]
    return None


def _joined(members: list[Member]) -> str:
    pairs = (f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in members)
    return "{" + ", ".join(pairs) + "}"
