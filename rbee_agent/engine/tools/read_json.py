"""JSON read one character at a time, so that arguments are passed on while they are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Step = Generator[None, str, T]
"""A part of the parser: it is sent characters and returns a T when it has read enough."""

_OPENING = frozenset("{[")
_CLOSING = frozenset("}]")
_DELIMITERS = frozenset(",}] \t\r\n")


class Malformed(Exception):
    """What was read is not what was expected here."""


class Chars:
    """The characters on their way to the parser: those put back first, then those that come."""

    def __init__(self) -> None:
        self.raw: list[str] | None = None
        """What was read since somebody began to record, to be read again otherwise."""
        self._back: list[str] = []

    def next(self) -> Step[str]:
        """The next character."""
        character = self._back.pop() if self._back else (yield)
        if self.raw is not None:
            self.raw.append(character)
        return character

    def put_back(self, text: str) -> None:
        """Let `text` be read again."""
        if self.raw is not None and text:
            del self.raw[-len(text) :]
        self._back.extend(reversed(text))

    def rewind(self) -> None:
        """Let everything that was recorded be read again, and record no more."""
        text, self.raw = "".join(self.raw or ()), None
        self._back.extend(reversed(text))

    @property
    def settled(self) -> bool:
        """Whether nothing is put back."""
        return not self._back


def after_space(chars: Chars) -> Step[str]:
    """The first character that is no white space."""
    while True:
        character = yield from chars.next()
        if not character.isspace():
            return character


def expect(chars: Chars, wanted: str) -> Step[None]:
    """Read `wanted` behind any white space.

    Raises:
        Malformed: something else stands there.
    """
    character = yield from after_space(chars)
    for place, letter in enumerate(wanted):
        if place:
            character = yield from chars.next()
        if character != letter:
            raise Malformed


def either(chars: Chars, *wanted: str) -> Step[str]:
    """Read one of `wanted` behind any white space, and return it.

    Raises:
        Malformed: something else stands there.
    """
    text = yield from after_space(chars)
    while text not in wanted:
        if not any(one.startswith(text) for one in wanted):
            raise Malformed
        text += yield from chars.next()
    return text


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


def quoted(chars: Chars, ends: tuple[str, ...], emit: Callable[[str], None]) -> Step[str]:
    """Pass bare text on as a JSON string, up to one of `ends`, which is read too; returns that."""
    emit('"')
    held = ""
    while held not in ends:
        held += yield from chars.next()
        while held and not any(end.startswith(held) for end in ends):
            emit(escaped(held[0]))
            held = held[1:]
    emit('"')
    return held


def escaped(text: str) -> str:
    """Text as it stands in a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def string(chars: Chars) -> Step[str]:
    """The value of a string whose opening quote is read.

    Raises:
        Malformed: it has an escape that JSON does not know.
    """
    raw = ""
    while (character := (yield from chars.next())) != '"':
        raw += character
        if character == "\\":
            raw += yield from chars.next()
    try:
        value: str = json.loads(f'"{raw}"', strict=False)
    except ValueError as error:
        raise Malformed from error
    return value


def value(chars: Chars, first: str, emit: Callable[[str], None]) -> Step[None]:
    """Pass a value that begins with `first` on as it is written.

    Raises:
        Malformed: no value begins so.
    """
    if first == '"':
        emit(first)
        yield from _rest_of_string(chars, emit)
    elif first in _OPENING:
        yield from _rest_of_nest(chars, first, emit)
    elif first.isalnum() or first == "-":
        character = first
        while character not in _DELIMITERS:
            emit(character)
            character = yield from chars.next()
        chars.put_back(character)
    else:
        raise Malformed


def _rest_of_nest(chars: Chars, first: str, emit: Callable[[str], None]) -> Step[None]:
    emit(first)
    depth = 1
    while depth:
        character = yield from chars.next()
        emit(character)
        if character == '"':
            yield from _rest_of_string(chars, emit)
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1


def _rest_of_string(chars: Chars, emit: Callable[[str], None]) -> Step[None]:
    while True:
        character = yield from chars.next()
        emit(character)
        if character == '"':
            return
        if character == "\\":
            emit((yield from chars.next()))
