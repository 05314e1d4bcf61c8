"""Reads the tool calls that stand behind a mark, whichever family wrote them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection

from rbee_agent.engine.tools import read_json
from rbee_agent.engine.tools.pieces import Call
from rbee_agent.engine.tools.read_json import Chars, Malformed, Step
from rbee_agent.engine.tools.styles import Style

_MAX_HEAD = 256
"""Characters between a mark and the arguments, at most."""
_NAME_KEYS = frozenset({"name", "tool_name"})
_ARGUMENT_KEYS = frozenset({"arguments", "parameters", "args", "input"})


class CallReader:
    """Turns calls into pieces; the name must be one that was offered."""

    def __init__(
        self,
        style: Style,
        tools: Collection[str],
        chars: Chars,
        emit: Callable[[Call], None],
        call_id: Callable[[int], str],
    ) -> None:
        self.ended = 0
        """Calls that are whole."""
        self._style = style
        self._tools = frozenset(tools)
        self._chars = chars
        self._emit = emit
        self._call_id = call_id
        self._name: str | None = None
        self._early: list[str] = []
        """Arguments that came before the name."""
        self._empty = True

    @property
    def began(self) -> int:
        """Calls that were begun, the open one included."""
        return self.ended + (self._name is not None)

    def calls(self) -> Step[None]:
        """Read the calls behind a mark.

        Raises:
            Malformed: there is no call, or one to a tool that was not offered.
        """
        first = yield from read_json.after_space(self._chars)
        if first == "[":
            yield from self._list()
        elif first == "{":
            yield from self._objects()
        elif self._style.head is not None:
            self._chars.put_back(first)
            yield from self._headed()
        else:
            raise Malformed

    def _list(self) -> Step[None]:
        while True:
            first = yield from read_json.after_space(self._chars)
            if first == "]":
                return
            if first == "{":
                yield from self._object()
            elif first != ",":
                raise Malformed

    def _objects(self) -> Step[None]:
        while True:
            yield from self._object()
            first = yield from read_json.after_space(self._chars)
            if first in ";,":
                first = yield from read_json.after_space(self._chars)
            if first != "{":
                self._chars.put_back(first)
                return

    def _headed(self) -> Step[None]:
        """A name in the family's own wording, then the arguments as an object."""
        assert self._style.head is not None  # noqa: S101 - asked by the caller
        head = ""
        while (character := (yield from self._chars.next())) != "{":
            head += character
            if len(head) > _MAX_HEAD:
                raise Malformed
        found = self._style.head.fullmatch(head)
        if found is None:
            raise Malformed
        self._begin()
        self._named(found["name"])
        yield from read_json.value(self._chars, "{", self._argument)
        self._end()

    def _object(self) -> Step[None]:
        self._begin()
        yield from self._members()
        self._end()

    def _members(self) -> Step[None]:
        """The members of a call's object, behind its brace."""
        while True:
            first = yield from read_json.after_space(self._chars)
            if first == "}":
                return
            if first == ",":
                continue
            if first != '"':
                raise Malformed
            key = yield from read_json.string(self._chars)
            yield from read_json.expect(self._chars, ":")
            yield from self._member(key)

    def _member(self, key: str) -> Step[None]:
        first = yield from read_json.after_space(self._chars)
        if key == "function" and first == "{":
            yield from self._members()
        elif (key in _NAME_KEYS or key == "function") and first == '"':
            self._named((yield from read_json.string(self._chars)))
        elif key in _ARGUMENT_KEYS and first == '"':
            # Some models write the arguments as JSON inside a string.
            self._argument((yield from read_json.string(self._chars)))
        elif key in _ARGUMENT_KEYS:
            yield from read_json.value(self._chars, first, self._argument)
        else:
            yield from read_json.value(self._chars, first, _unheard)

    def _begin(self) -> None:
        self._name, self._early, self._empty = None, [], True
        if self._chars.raw is None:
            self._chars.raw = ["{"]

    def _named(self, name: str) -> None:
        if name not in self._tools or self._name is not None:
            raise Malformed
        self._name = name
        self._chars.raw = None
        early = "".join(self._early)
        self._empty = not early
        self._emit(Call(self.ended, self._call_id(self.ended), name, early))

    def _argument(self, text: str) -> None:
        if self._name is None:
            self._early.append(text)
        elif text:
            self._empty = False
            self._emit(Call(self.ended, None, None, text))

    def _end(self) -> None:
        if self._name is None:
            raise Malformed
        if self._empty:
            self._argument("{}")
        self._name = None
        self.ended += 1


def short_id(job_id: str, index: int) -> str:
    """Nine letters and digits, the same for the same call of the same job."""
    return _digest(job_id, index)[:9]


def long_id(job_id: str, index: int) -> str:
    """An id as the OpenAI API writes them, the same for the same call of the same job."""
    return f"call_{_digest(job_id, index)[:24]}"


def _digest(job_id: str, index: int) -> str:
    return hashlib.sha256(json.dumps([job_id, index]).encode()).hexdigest()


def _unheard(_: str) -> None:
    """Members that say nothing about the call."""
