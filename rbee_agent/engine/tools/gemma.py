"""What Gemma 4 writes behind its mark: ``call:NAME{key:value}``, texts in quotes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable

from rbee_agent.engine.tools import read_json
from rbee_agent.engine.tools.read_json import Chars, Malformed, Step, until
from rbee_agent.engine.tools.tagged import MAX_NAME, Receiver

_QUOTE = '<|"|>'
_DELIMITERS = frozenset(",}]")


def call(into: Receiver, chars: Chars) -> Step[None]:
    """The call behind the mark.

    Raises:
        Malformed: it is not written so, or no such tool was offered.
    """
    yield from read_json.either(chars, "call:", ":")
    into.begin()
    into.named((yield from until(chars, "{", MAX_NAME)).strip())
    yield from _object(chars, into.argument)
    into.end()


def _object(chars: Chars, emit: Callable[[str], None]) -> Step[None]:
    emit("{")
    separator = ""
    while (first := (yield from read_json.after_space(chars))) != "}":
        if first == ",":
            continue
        if first == '"':
            key = yield from read_json.string(chars)
            yield from read_json.expect(chars, ":")
        else:
            key = (first + (yield from until(chars, ":", MAX_NAME))).replace(_QUOTE, "").strip()
        emit(f"{separator}{json.dumps(key, ensure_ascii=False)}: ")
        separator = ", "
        yield from _value(chars, emit)
    emit("}")


def _list(chars: Chars, emit: Callable[[str], None]) -> Step[None]:
    emit("[")
    separator = ""
    while (first := (yield from read_json.after_space(chars))) != "]":
        if first == ",":
            continue
        chars.put_back(first)
        emit(separator)
        separator = ", "
        yield from _value(chars, emit)
    emit("]")


def _value(chars: Chars, emit: Callable[[str], None]) -> Step[None]:
    first = yield from read_json.after_space(chars)
    if first == "{":
        yield from _object(chars, emit)
    elif first == "[":
        yield from _list(chars, emit)
    elif first == "<":
        yield from read_json.expect(chars, _QUOTE[1:])
        yield from read_json.quoted(chars, (_QUOTE,), emit)
    elif first == '"':
        yield from read_json.value(chars, first, emit)
    elif first in _DELIMITERS:
        raise Malformed
    else:
        yield from _bare(chars, first, emit)


def _bare(chars: Chars, first: str, emit: Callable[[str], None]) -> Step[None]:
    """A number, a word that JSON knows, or text without its marks."""
    text = first
    while (character := (yield from chars.next())) not in _DELIMITERS:
        text += character
    chars.put_back(character)
    text = text.strip()
    try:
        json.loads(text)
    except ValueError:
        text = json.dumps(text, ensure_ascii=False)
    emit(text)
