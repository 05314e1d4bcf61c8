"""Reads the tool calls that stand behind a mark, whichever family wrote them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from rbee_agent.engine.tools import code, gemma, nested, read_json, tagged
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
        tools: Mapping[str, Mapping[str, Any]],
        chars: Chars,
        emit: Callable[[Call], None],
        call_id: Callable[[int], str],
    ) -> None:
        self.ended = 0
        """Calls that are whole."""
        self._style = style
        self._tools = tools
        self._chars = chars
        self._emit = emit
        self._call_id = call_id
        self._name: str | None = None
        self._early: list[str] = []
        """Arguments that came before the name."""
        self._empty = True
        self._whole = False
        """Whether the arguments have come to their end, be the call's own end missing."""
        self.opening: str | None = None
        """The tool whose arguments, as JSON, begin with the character read last."""
        self.in_code = False
        """Whether the rest of the answer is code."""

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """Names that may be called, with their parameters."""
        return self._tools

    @property
    def began(self) -> int:
        """Calls that were begun, the open one included."""
        return self.ended + (self._name is not None)

    def calls(self, mark: str) -> Step[None]:
        """Read the calls behind a mark.

        Raises:
            Malformed: there is no call, or one to a tool that was not offered.
        """
        first = yield from read_json.after_space(self._chars)
        if first == "[":
            yield from self._list()
            return
        if first == "{":
            yield from self._objects()
            return
        self._chars.put_back(first)
        if self._style.markup is not None:
            inside = mark == self._style.markup.call
            yield from tagged.tags(self, self._chars, self._style.markup, inside=inside)
        elif self._style.body == "gemma":
            yield from gemma.call(self, self._chars)
        elif self._style.body == "nested":
            if not mark.endswith('<invoke name="'):
                yield from read_json.expect(self._chars, f'{nested.MARK}<invoke name="')
            yield from nested.call(self, self._chars)
        elif self._style.body == "calls":
            yield from self._lines()
        elif self._style.body == "pairs":
            yield from tagged.pairs(self, self._chars)
        elif self._style.body == "python":
            yield from code.code(self, self._chars)
        elif self._style.head is not None:
            yield from self._headed(self._style.head)
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
                if self._style.body != "calls":
                    raise Malformed
                self._chars.put_back(first)
                yield from code.called(self, self._chars)

    def _lines(self) -> Step[None]:
        """Calls as Python writes them, one behind the other."""
        first = "f"
        while first.isidentifier():
            yield from code.called(self, self._chars)
            first = yield from read_json.after_space(self._chars)
            self._chars.put_back(first)

    def _objects(self) -> Step[None]:
        while True:
            yield from self._object()
            first = yield from read_json.after_space(self._chars)
            if first in ";,":
                first = yield from read_json.after_space(self._chars)
            if first != "{":
                self._chars.put_back(first)
                return

    def _headed(self, form: re.Pattern[str]) -> Step[None]:
        """A name in the family's own wording, then the arguments as an object."""
        head = ""
        while (character := (yield from self._chars.next())) != "{":
            head += character
            if len(head) > _MAX_HEAD:
                raise Malformed
        found = form.fullmatch(head)
        if found is None:
            raise Malformed
        self.begin()
        self.named(found["name"])
        yield from self._object_of_arguments("{")
        self.end()

    def _object(self) -> Step[None]:
        self.begin()
        yield from self._members()
        self.end()

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
            self.named((yield from read_json.string(self._chars)))
        elif key in _ARGUMENT_KEYS and first == '"':
            # Some models write the arguments as JSON inside a string.
            self.argument((yield from read_json.string(self._chars)))
        elif key in _ARGUMENT_KEYS:
            yield from self._object_of_arguments(first)
        elif key in self._tools and first == "{" and self._name is None:
            self.named(key)
            yield from self._object_of_arguments(first)
        else:
            yield from read_json.value(self._chars, first, _unheard)

    def arguments(self) -> Step[None]:
        """The arguments of the call that was named, as an object, to the call's end.

        Raises:
            Malformed: there is no object.
        """
        first = yield from read_json.after_space(self._chars)
        if first != "{":
            raise Malformed
        yield from self._object_of_arguments(first)
        self.end()

    def _object_of_arguments(self, first: str) -> Step[None]:
        self.opening = self._name if first == "{" else None
        yield from read_json.value(self._chars, first, self.argument)
        self._whole = True

    def finish(self) -> None:
        """The answer is over: code that is a call's only argument ends here."""
        if self.in_code:
            self.in_code = False
            self.argument('"}')
            self.end()
        elif self._name is not None and self._whole:
            self.end()

    def begin(self) -> None:
        """A call begins; its name is not known yet."""
        self._name, self._early, self._empty, self._whole = None, [], True, False
        if self._chars.raw is None:
            self._chars.raw = ["{"]

    def named(self, name: str) -> None:
        """The name of the call.

        Raises:
            Malformed: no such tool was offered.
        """
        if name not in self._tools or self._name is not None:
            raise Malformed
        self._name = name
        self._chars.raw = None
        early = "".join(self._early)
        self._empty = not early
        self._emit(Call(self.ended, self._call_id(self.ended), name, early))

    def argument(self, text: str) -> None:
        """More of the arguments' JSON."""
        if self._name is None:
            self._early.append(text)
        elif text:
            self._empty = False
            self._emit(Call(self.ended, None, None, text))

    def end(self) -> None:
        """The call is whole.

        Raises:
            Malformed: it had no name.
        """
        if self._name is None:
            raise Malformed
        if self._empty:
            self.argument("{}")
        self._name = None
        self.ended += 1

    def abandon(self) -> None:
        """The call that was begun cannot be read on: it stays as it was shown."""
        if self._name is not None:
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
