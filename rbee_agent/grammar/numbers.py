"""Numbers between bounds, and multiples, as automata over their decimal digits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from rbee_agent.grammar.machines import Cat, Machine, Many, Node, Or, Set, build, machine, word

DIGITS = 15
"""Digits before the point, at most: more would not survive a double."""
PLACES = 6
"""Digits behind the point, at most, where there are bounds."""
MAX_MULTIPLE = 500
_DIGIT = Set(((48, 57),))
_NONZERO = Set(((49, 57),))
_NOTHING = Or(())


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval; None where it has no end. Both ends belong to it unless they are open."""

    low: Fraction | None = None
    low_open: bool = False
    high: Fraction | None = None
    high_open: bool = False

    def __and__(self, other: Bounds) -> Bounds:
        low, low_open = _tighter(
            (self.low, self.low_open), (other.low, other.low_open), larger=True
        )
        high, high_open = _tighter(
            (self.high, self.high_open), (other.high, other.high_open), larger=False
        )
        return Bounds(low, low_open, high, high_open)

    def holds(self, value: Fraction) -> bool:
        """Whether a number lies in it."""
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        return self.high is None or not (
            value > self.high or (self.high_open and value == self.high)
        )

    @property
    def empty(self) -> bool:
        """Whether nothing lies in it."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    @property
    def unbounded(self) -> bool:
        """Whether everything lies in it."""
        return self.low is None and self.high is None


EVERYWHERE = Bounds()


def integers(bounds: Bounds, multiple: int = 1) -> Machine:
    """Integers of the interval that are multiples of `multiple`.

    Raises:
        TooLarge: the automaton would have too many states.
    """
    low, high = _whole_ends(bounds)
    options: list[Node] = []
    if (high is None or high >= 0) and (low is None or low <= 0 or high is None or high >= low):
        options.append(_natural(max(low or 0, 0), high))
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        options.append(Cat((word("-"), _natural(least, None if low is None else -low))))
    made = machine(Or(tuple(options)))
    return made & _multiples(multiple) if multiple > 1 else made


def decimals(bounds: Bounds) -> Machine:
    """Numbers of the interval, with a decimal point or without, but no exponent.

    Raises:
        TooLarge: the automaton would have too many states.
    """
    options: list[Node] = []
    if bounds.high is None or bounds.high >= 0:
        low = bounds.low if bounds.low is not None and bounds.low >= 0 else Fraction(0)
        is_open = bounds.low_open and low == bounds.low
        options.append(_positive(low, bounds.high, is_open, bounds.high_open))
    if bounds.low is None or bounds.low < 0:
        below = bounds.high is not None and bounds.high <= 0
        least = -bounds.high if below and bounds.high is not None else Fraction(0)
        most = None if bounds.low is None else -bounds.low
        # Zero is written without a sign.
        is_open = (bounds.high_open if below else False) or least == 0
        options.append(Cat((word("-"), _positive(least, most, is_open, bounds.low_open))))
    return machine(Or(tuple(options)))


def _tighter(
    one: tuple[Fraction | None, bool], other: tuple[Fraction | None, bool], *, larger: bool
) -> tuple[Fraction | None, bool]:
    if one[0] is None or other[0] is None:
        return other if one[0] is None else one
    if one[0] == other[0]:
        return one[0], one[1] or other[1]
    return one if (one[0] > other[0]) == larger else other


def _whole_ends(bounds: Bounds) -> tuple[int | None, int | None]:
    low = high = None
    if bounds.low is not None:
        low = -(-bounds.low.numerator // bounds.low.denominator)
        low += bounds.low_open and low == bounds.low
    if bounds.high is not None:
        high = bounds.high.numerator // bounds.high.denominator
        high -= bounds.high_open and high == bounds.high
    return low, high


def _natural(low: int, high: int | None) -> Node:
    """Integers from `low`, at least 0, to `high`, without needless zeros."""
    most = 10**DIGITS - 1
    high = most if high is None else min(high, most)
    options: list[Node] = []
    if low <= 0 <= high:
        options.append(word("0"))
    low = max(low, 1)
    for size in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (size - 1)), min(high, 10**size - 1)
        if first <= last:
            options.append(_between(str(first), str(last)))
    return Or(tuple(options))


def _between(low: str, high: str) -> Node:
    """Digit strings of one length, from `low` to `high`."""
    if low == high:
        return word(low)
    if low == "0" * len(low) and high == "9" * len(high):
        return Many(_DIGIT, len(low), len(low))
    if low[0] == high[0]:
        return Cat((word(low[0]), _between(low[1:], high[1:])))
    rest = len(low) - 1
    options: list[Node] = [Cat((word(low[0]), _between(low[1:], "9" * rest)))]
    middle = (ord(low[0]) + 1, ord(high[0]) - 1)
    if middle[0] <= middle[1]:
        options.append(Cat((Set((middle,)), Many(_DIGIT, rest, rest))))
    options.append(Cat((word(high[0]), _between("0" * rest, high[1:]))))
    return Or(tuple(options))


def _positive(low: Fraction, high: Fraction | None, low_open: bool, high_open: bool) -> Node:
    """Numbers from `low`, at least 0, to `high`."""
    if high is not None and high < low:
        return _NOTHING
    scale = 10**PLACES
    first, last = _whole_ends(
        Bounds(low * scale, low_open, None if high is None else high * scale, high_open)
    )
    assert first is not None  # noqa: S101 - low is a number
    top = 10**DIGITS * scale - 1
    last = top if last is None else min(last, top)
    if first > last:
        return _NOTHING
    (head, tail), (end, rest) = divmod(first, scale), divmod(last, scale)
    if head == end:
        return Cat((word(str(head)), _places(tail, rest)))
    options: list[Node] = [
        Cat((word(str(head)), _places(tail, scale - 1))),
        Cat((word(str(end)), _places(0, rest))),
    ]
    if head + 1 <= end - 1:
        options.append(Cat((_natural(head + 1, end - 1), _places(0, scale - 1))))
    return Or(tuple(options))


def _places(low: int, high: int) -> Node:
    """What stands behind an integer so that it has `low` to `high` millionths more."""
    options: list[Node] = [Cat(())] if low == 0 else []
    for size in range(1, PLACES + 1):
        unit = 10 ** (PLACES - size)
        first, last = -(-low // unit), high // unit
        if first <= last:
            options.append(
                Cat((word("."), _between(str(first).zfill(size), str(last).zfill(size))))
            )
    return Or(tuple(options))


def _multiples(of: int) -> Machine:
    """Integers without needless zeros that `of` divides."""

    def step(state: object) -> Iterable[tuple[int, int, object]]:
        if state == "start":
            yield 45, 45, "minus"
        if state in ("start", "minus"):
            if state == "start":
                yield 48, 48, "zero"
            yield from ((48 + digit, 48 + digit, digit % of) for digit in range(1, 10))
        elif isinstance(state, int):
            for digit in range(10):
                yield 48 + digit, 48 + digit, (state * 10 + digit) % of

    return build("start", step, lambda state: state in (0, "zero"))
