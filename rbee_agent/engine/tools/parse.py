"""Reads text, thoughts and tool calls out of what a model writes, one character after the other.

The parser is a coroutine that is sent characters, so how the text was cut into tokens cannot
matter. What it has not decided yet it holds; its state is a function of the characters so far, so a
stream that goes on elsewhere is parsed on from the same token ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rbee_agent.engine.tools.calls import CallReader
from rbee_agent.engine.tools.pieces import Channel, Piece, Text, joined
from rbee_agent.engine.tools.read_json import Chars, Malformed, Step, until
from rbee_agent.engine.tools.styles import Style

_MAX_HEADER = 160
"""Characters of a message's header, at most."""
_START, _CHANNEL, _MESSAGE = "<|start|>assistant", "<|channel|>", "<|message|>"
_CHANNEL_NAME = re.compile(r"<\|channel\|>(\w+)")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")


class OutputParser:
    """Takes an answer's text piece by piece and gives what it means."""

    def __init__(
        self,
        style: Style,
        *,
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        opened: str | None = None,
        thinks: bool = False,
        call_id: Callable[[int], str],
    ) -> None:
        """Begin an answer.

        Args:
            style: how calls and thoughts are written.
            tools: names that may be called, with their parameters; none: no calls are read.
            opened: the mark that ends the thought which the prompt has begun, if it has.
            thinks: thoughts may stand anywhere, not only where the answer begins.
            call_id: the id of the call number n.
        """
        self._style = style
        self._pieces: list[Piece] = []
        self._chars = Chars()
        self._reader = CallReader(style, tools or {}, self._chars, self._pieces.append, call_id)
        self._ends = dict(style.thinking)
        marks = (*style.skip, *(style.begin if tools else ()))
        self._marks = (*marks, *self._ends) if thinks else marks
        first = (style.bare,) if tools and style.bare else ()
        # A thought's end alone, where none was begun, says that there is none.
        self._first_marks = (*marks, *self._ends, *self._ends.values(), *first)
        self._thought_marks = marks if tools and style.calls_end_thoughts else ()
        self._after = style.after
        self._letters = {mark[0] for mark in (*self._first_marks, *style.after)}
        self._opening: tuple[str, str] | None = None
        self._channel: Channel | None = None
        self._spoken = True
        """Whether anything but white space was said on this channel; such space goes unsaid."""
        self._worded = False
        """Whether anything was said in the answer itself."""
        self._keeps_space = bool(tools)
        """Space at the end is held back: it is dropped where a call or a thought's end follows."""
        self._held = ""
        self._awaited: tuple[str, ...] = ()
        self._space = ""
        self._plain = False
        self._run = {"recipients": self._recipients, "channels": self._channels}.get(
            style.body, partial(self._answer, opened)
        )()
        next(self._run)

    @property
    def calls(self) -> int:
        """Calls that have ended."""
        return self._reader.ended

    @property
    def holding(self) -> bool:
        """Whether there is text that may yet be shown, or become a call."""
        return bool(self._held or self._chars.raw is not None or self._kept_space)

    @property
    def _kept_space(self) -> str:
        """Space that is shown should the answer end here."""
        return self._space if self._channel is None and not self._reader.began else ""

    def opening(self) -> tuple[str, str] | None:
        """The tool whose arguments began in the last push, and what stood there before them."""
        found, self._opening = self._opening, None
        return found

    def shows(self, token: str) -> bool:
        """Whether a control token, by its name, is one of the marks to be read."""
        return self._style.shows(token)

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what is certain now."""
        if self._plain and not self._held and self._letters.isdisjoint(text):
            self._say(text)
        else:
            for place, character in enumerate(text):
                self._run.send(character)
                if (tool := self._reader.opening) is not None:
                    self._reader.opening = None
                    self._opening = (tool, text[:place]) if character == "{" else None
        return self._take()

    def finish(self) -> list[Piece]:
        """What was held, at the end of the answer."""
        self._reader.finish()
        undecided = "".join(self._chars.raw or ())
        if self._held in self._awaited:
            self._held = ""
        held, self._held, self._chars.raw = self._held + undecided, "", None
        if held:
            self._say(held)
        if self._kept_space:
            self._pieces.append(Text(self._space))
        self._space = ""
        return self._take()

    def _take(self) -> list[Piece]:
        pieces = joined(self._pieces)
        self._pieces.clear()
        return pieces

    def _answer(self, opened: str | None) -> Step[None]:
        if opened is not None:
            yield from self._thought(opened)
        fresh = True
        while True:
            marks = self._first_marks if fresh else self._marks
            if self._reader.ended:
                marks += self._after
            mark = yield from self._text_until(marks, fresh=fresh)
            if not mark:
                fresh = False
            elif mark in self._ends:
                yield from self._thought(self._ends[mark])
            elif mark in self._style.begin or mark == self._style.bare:
                fresh = not (yield from self._calls(mark)) and fresh

    def _thought(self, end: str) -> Step[None]:
        self._space = ""
        self._channel, self._spoken = "reasoning", False
        while (mark := (yield from self._text_until((end, *self._thought_marks)))) != end:
            if mark in self._style.begin and not (yield from self._calls(mark)):
                self._after += (end,)
                break
        self._space = ""
        self._channel, self._spoken = None, False

    def _recipients(self) -> Step[None]:
        """Messages that begin with whom they are for; the prompt has begun the first."""
        while True:
            self._chars.raw = []
            try:
                name = (yield from until(self._chars, "\n", _MAX_HEADER)).strip()
                if name != "all":
                    self._reader.begin()
                    self._reader.named(name)
                    yield from self._reader.arguments()
            except Malformed:
                if self._chars.raw is not None:
                    self._chars.rewind()
                self._reader.abandon()
            self._chars.raw = None
            yield from self._text_until(self._style.begin)
            self._space = ""

    def _channels(self) -> Step[None]:
        """Messages with headers that tell their channel, and whom a call is for."""
        marks = (*self._style.skip, *self._style.begin)
        first = yield from self._chars.next()
        self._chars.put_back(first)
        # The prompt has begun the first header, behind which a recipient may stand.
        mark = _START if first == " " else (yield from self._text_until(marks))
        while True:
            if mark in self._style.begin:
                yield from self._message(mark)
            mark = yield from self._text_until(marks)

    def _message(self, mark: str) -> Step[None]:
        """A header, and a call where it is one's; else what follows is on the header's channel."""
        self._chars.raw = []
        try:
            header = mark + (yield from until(self._chars, _MESSAGE, _MAX_HEADER))
        except Malformed:
            self._chars.rewind()
            return
        self._chars.raw = None
        self._space = ""
        recipient, channels = _RECIPIENT.search(header), _CHANNEL_NAME.findall(header)
        thinks = channels[-1:] == ["analysis"]
        self._channel, self._spoken = "reasoning" if thinks else None, False
        if recipient is not None and recipient[1] in self._reader.tools:
            self._channel = None
            self._reader.begin()
            self._reader.named(recipient[1])
            try:
                yield from self._reader.arguments()
            except Malformed:
                self._reader.abandon()

    def _calls(self, mark: str) -> Step[bool]:
        """Read calls behind a mark; whether it was only text."""
        self._chars.raw = list(mark)
        if mark == self._style.bare:
            self._chars.rewind()
            self._chars.raw = []
        try:
            yield from self._reader.calls(mark)
        except Malformed:
            if self._chars.raw is None:
                self._reader.abandon()
                return False
            # Nobody has seen a call yet: it is text, in which a later mark may stand.
            self._chars.rewind()
            self._say((yield from self._chars.next()))
            return True
        self._chars.raw = None
        # Space between a call and what follows it says nothing where nothing stands before.
        self._space, self._spoken = "", self._worded
        return False

    def _text_until(self, marks: tuple[str, ...], *, fresh: bool = False) -> Step[str]:
        """Say text up to the first mark, and return that; with `fresh` "" behind the first word."""
        self._held, self._awaited = "", marks
        while True:
            self._plain = not fresh and self._chars.settled
            self._held += yield from self._chars.next()
            self._plain = False
            while self._held and not any(
                mark.startswith(self._held) and mark != self._held for mark in marks
            ):
                held = self._held
                mark = max((one for one in marks if held.startswith(one)), key=len, default="")
                if mark:
                    self._held = ""
                    self._chars.put_back(held[len(mark) :])
                    return mark
                character, self._held = held[0], held[1:]
                self._say(character)
                if fresh and not character.isspace():
                    self._chars.put_back(self._held)
                    self._held = ""
                    return ""

    def _say(self, text: str) -> None:
        text = self._space + text
        self._space = ""
        if not self._spoken:
            text = text.lstrip()
            if not text:
                return
            self._spoken = True
        if self._keeps_space or self._channel is not None:
            said = text.rstrip()
            self._space = text[len(said) :]
            text = said
        if text:
            self._worded = self._worded or self._channel is None
            self._pieces.append(Text(text, self._channel))
