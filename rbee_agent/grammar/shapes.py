"""What a schema allows, as alternatives of one JSON type each, which can be merged and compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rbee_agent.grammar.numbers import EVERYWHERE, Bounds

Places = tuple[str, ...]
"""Pointers of schemas that must all hold; of none: anything goes."""


@dataclass(frozen=True, slots=True)
class Literal:
    """One of these values; null, true and false are always literals."""

    values: tuple[Any, ...]
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    bounds: Bounds = EVERYWHERE
    integer: bool = False
    multiple: int = 1
    implied: bool = False


@dataclass(frozen=True, slots=True)
class String:
    """A text."""

    least: int = 0
    most: int | None = None
    patterns: tuple[str, ...] = ()
    """All are found in it."""
    without: tuple[str, ...] = ()
    """None is found in it."""
    formats: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """A list."""

    prefix: tuple[Places, ...] = ()
    rest: Places | None = None
    """What comes behind the prefix; None: nothing was said about it."""
    least: int = 0
    most: int | None = None
    contains: tuple[tuple[Places, int, int | None], ...] = ()
    unique: bool = False
    implied: bool = False

    def item(self, place: int) -> Places:
        """What the item at a place must be."""
        return self.prefix[place] if place < len(self.prefix) else self.rest or ()


@dataclass(frozen=True, slots=True)
class Object:
    """An object."""

    members: dict[str, Places] = field(default_factory=dict)
    patterns: tuple[tuple[str, Places], ...] = ()
    rest: Places | None = None
    """What other members must be; None: nothing was said about them."""
    required: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    names: Places = ()
    """What the members' names must be."""
    quiet: frozenset[str] = frozenset()
    """Members of which only a negation spoke: for ``unevaluatedProperties`` nobody did."""
    implied: bool = False


Shape = Literal | Number | String | Array | Object


class Unenforceable(Exception):
    """A keyword that no grammar enforces, or not in this combination."""

    def __init__(self, keyword: str, why: str, where: str | None = None) -> None:
        super().__init__(why)
        self.keyword = keyword
        self.why = why
        self.where = where
        """Pointer of the schema that holds it; None: the one being read."""


def anything() -> tuple[Shape, ...]:
    """Every JSON value, as one alternative a type."""
    return (Object(), Array(), String(), Number(), Literal((None, True, False)))


def smaller(one: int | None, other: int | None) -> int | None:
    """The tighter of two upper limits, None being none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, but no number is true or false."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def unimplied(shape: Shape) -> Shape:
    """The same, said outright."""
    return replace(shape, implied=False)
