"""Regular expressions as JSON Schema has them (ECMA-262), as automata.

Where ECMA-262 and the engines that validators use differ (what counts as a letter, say), the
automaton accepts only what both do. What no automaton can express is refused by name.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rbee_agent.grammar.machines import (
    LAST,
    Cat,
    Machine,
    Many,
    Node,
    Or,
    Range,
    Set,
    build,
    common,
    complement,
    machine,
    union,
)

_START, _END = LAST + 1, LAST + 2
"""Stand for the two ends of a text, so that ``^`` and ``$`` are characters like others."""
_SURROGATES: Range = (0xD800, 0xDFFF)
TEXT = complement([_SURROGATES])
"""Every character that JSON text may hold."""
ASCII: tuple[Range, ...] = ((0x20, 0x7E),)
_DIGITS: tuple[Range, ...] = ((48, 57),)
_WORDS: tuple[Range, ...] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACES: tuple[Range, ...] = ((9, 13), (32, 32))
_MORE_SPACES: tuple[Range, ...] = (
    (9, 13), (28, 32), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
    (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_LINE_ENDS: tuple[Range, ...] = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_MAX_COUNT = 1000


class UnreadablePattern(Exception):
    """The pattern is wrong, or holds what no automaton can express; says which."""


@lru_cache(maxsize=256)
def pattern(source: str) -> Machine:
    """All texts in which a pattern is found.

    Raises:
        UnreadablePattern: it cannot be read or expressed.
        TooLarge: its automaton has too many states.
    """
    anything = Many(Set(union(TEXT, [(_START, _END)])), 0, None)
    found = machine(Cat((anything, _Reader(source).whole(), anything)))
    begin, end = Set(((_START, _START),)), Set(((_END, _END),))
    framed = machine(Cat((begin, Many(Set(TEXT), 0, None), end)))
    return _inside(found & framed)


def exactly(source: str) -> Machine:
    """All texts that are a pattern from start to end."""
    return pattern(f"^(?:{source})$")


def _inside(framed: Machine) -> Machine:
    """The same without the characters that stand for the ends."""
    begin = [to for low, _, to in framed.edges[0] if low == _START]
    if not begin:
        return Machine(((),), frozenset())

    def step(state: object) -> list[tuple[int, int, object]]:
        assert isinstance(state, int)  # noqa: S101 - states of a machine
        return [(low, high, to) for low, high, to in framed.edges[state] if low <= LAST]

    def accepts(state: object) -> bool:
        assert isinstance(state, int)  # noqa: S101 - likewise
        return any(low == _END for low, _, _ in framed.edges[state])

    return build(begin[0], step, accepts)


class _Reader:
    """Recursive descent over one pattern."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def whole(self) -> Node:
        node = self._options()
        if self._at < len(self._source):
            raise UnreadablePattern("a bracket is closed that was never opened")
        return node

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _next(self) -> str:
        letter = self._peek()
        if not letter:
            raise UnreadablePattern("it ends in the middle")
        self._at += 1
        return letter

    def _take(self, text: str) -> bool:
        if self._source.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _options(self) -> Node:
        options = [self._run()]
        while self._take("|"):
            options.append(self._run())
        return options[0] if len(options) == 1 else Or(tuple(options))

    def _run(self) -> Node:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._counted(self._atom()))
        return Cat(tuple(parts))

    def _atom(self) -> Node:
        letter = self._next()
        if letter == "(":
            return self._group()
        if letter == "[":
            return Set(self._class())
        if letter == ".":
            return Set(common(TEXT, complement(_LINE_ENDS)))
        if letter == "^":
            return Set(((_START, _START),))
        if letter == "$":
            return Set(((_END, _END),))
        if letter == "\\":
            return Set(self._escape())
        if letter in "*+?":
            raise UnreadablePattern(f"{letter} repeats nothing")
        return Set(((ord(letter), ord(letter)),))

    def _group(self) -> Node:
        if self._take("?"):
            if self._take("<") and self._peek() not in ("=", "!"):
                while self._next() != ">":
                    pass
            elif not self._take(":"):
                raise UnreadablePattern("it looks ahead or behind")
        node = self._options()
        if not self._take(")"):
            raise UnreadablePattern("a bracket is not closed")
        return node

    def _counted(self, node: Node) -> Node:
        while True:
            counts = self._counts()
            if counts is None:
                return node
            self._take("?")
            node = Many(node, *counts)

    def _counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        end = self._source.find("}", self._at)
        inside = self._source[self._at + 1 : end] if self._peek() == "{" and end > 0 else ""
        least, comma, most = inside.partition(",")
        if not least.isdigit() or not (most.isdigit() or not most):
            return None
        self._at = end + 1
        low = int(least)
        high = (int(most) if most else None) if comma else low
        if max(low, high or 0) > _MAX_COUNT or (high is not None and high < low):
            raise UnreadablePattern(f"it repeats more than {_MAX_COUNT} times, or less than never")
        return low, high

    def _class(self) -> tuple[Range, ...]:
        negated = self._take("^")
        ranges: list[Range] = []
        wider: list[Range] = []
        while not self._take("]"):
            low, wide = self._class_part()
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] not in ("]", ""):
                self._next()
                high, _ = self._class_part()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1]:
                    raise UnreadablePattern("a range has no single ends")
                low = wide = ((low[0][0], high[0][1]),)
                if low[0][0] > low[0][1]:
                    raise UnreadablePattern("a range runs backwards")
            ranges += low
            wider += wide
        return common(TEXT, complement(wider)) if negated else union(ranges)

    def _class_part(self) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
        """The characters of one part, and all that any engine would count to it."""
        letter = self._next()
        if letter != "\\":
            one = ((ord(letter), ord(letter)),)
            return one, one
        kind = self._peek()
        if kind == "b":
            self._next()
            return ((8, 8),), ((8, 8),)
        found = self._escape()
        if kind in ("d", "w", "s"):
            return found, _wide(kind)
        if kind in ("D", "W", "S"):
            return found, complement({"D": _DIGITS, "W": _WORDS, "S": _SPACES}[kind])
        return found, found

    def _escape(self) -> tuple[Range, ...]:
        letter = self._next()
        if letter in "dws":
            return {"d": _DIGITS, "w": _WORDS, "s": _SPACES}[letter]
        if letter in "DWS":
            return common(TEXT, complement(_wide(letter.lower())))
        if letter in _CONTROLS:
            return ((_CONTROLS[letter], _CONTROLS[letter]),)
        if letter in "xu":
            return self._by_number(letter)
        if letter.isalnum():
            raise UnreadablePattern(f"\\{letter} has no counterpart in a grammar")
        return ((ord(letter), ord(letter)),)

    def _by_number(self, kind: str) -> tuple[Range, ...]:
        if kind == "u" and self._take("{"):
            digits = ""
            while (letter := self._next()) != "}":
                digits += letter
        else:
            digits = "".join(self._next() for _ in range(2 if kind == "x" else 4))
        try:
            point = int(digits, 16)
        except ValueError as error:
            raise UnreadablePattern("a character's number is no number") from error
        return ((point, point),)


@lru_cache(maxsize=3)
def _wide(kind: str) -> tuple[Range, ...]:
    """What any engine counts to a class: Unicode's digits, words or spaces, all beyond the BMP."""
    if kind == "s":
        return _MORE_SPACES
    wanted = ("Nd",) if kind == "d" else ("L", "N", "M", "Pc")
    points = (p for p in range(0x80, 0x10000) if unicodedata.category(chr(p)).startswith(wanted))
    narrow = _DIGITS if kind == "d" else _WORDS
    return union(narrow, ((point, point) for point in points), [(0x10000, LAST)])
