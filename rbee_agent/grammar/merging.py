"""Shapes held against each other: both at once, one without the other, a value against a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any

from rbee_agent.grammar.formats import FORMATS
from rbee_agent.grammar.patterns import exactly, pattern
from rbee_agent.grammar.shapes import (
    Array,
    Literal,
    Number,
    Object,
    Places,
    Shape,
    String,
    Unenforceable,
    same,
    smaller,
)

Alternatives = Callable[[Places], Sequence[Shape]]
"""The shapes that schemas allow together."""


def conj(*places: Places) -> Places:
    """Schemas that must all hold."""
    return tuple(sorted({one for some in places for one in some}))


def member(shape: Object, name: str) -> Places:
    """What the member of a name must be."""
    found = [shape.members[name]] if name in shape.members else []
    found += [places for source, places in shape.patterns if pattern(source).accepts(name)]
    return conj(*found) if found else shape.rest or ()


def merged(one: Shape, other: Shape, alternatives: Alternatives) -> Shape | None:
    """What both allow; None where they have nothing in common."""
    if isinstance(other, Literal):
        one, other = other, one
    implied = one.implied and other.implied
    if isinstance(one, Literal):
        values = tuple(value for value in one.values if fits(value, other, alternatives))
        return Literal(values, implied) if values else None
    if isinstance(one, Number) and isinstance(other, Number):
        bounds = one.bounds & other.bounds
        integer = one.integer or other.integer
        multiple = lcm(one.multiple, other.multiple)
        return None if bounds.empty else Number(bounds, integer, multiple, implied)
    if isinstance(one, String) and isinstance(other, String):
        most = smaller(one.most, other.most)
        least = max(one.least, other.least)
        if most is not None and most < least:
            return None
        return String(
            least,
            most,
            tuple(dict.fromkeys(one.patterns + other.patterns)),
            tuple(dict.fromkeys(one.without + other.without)),
            tuple(dict.fromkeys(one.formats + other.formats)),
            one.excluded | other.excluded,
            implied,
        )
    if isinstance(one, Array) and isinstance(other, Array):
        return _arrays(one, other, implied)
    if isinstance(one, Object) and isinstance(other, Object):
        return _objects(one, other, implied)
    return None


def _arrays(one: Array, other: Array, implied: bool) -> Array | None:
    size = max(len(one.prefix), len(other.prefix))
    rest = None
    if one.rest is not None or other.rest is not None:
        rest = conj(one.rest or (), other.rest or ())
    most, least = smaller(one.most, other.most), max(one.least, other.least)
    if most is not None and most < least:
        return None
    return Array(
        tuple(conj(one.item(place), other.item(place)) for place in range(size)),
        rest,
        least,
        most,
        tuple(dict.fromkeys(one.contains + other.contains)),
        one.unique or other.unique,
        implied,
    )


def _objects(one: Object, other: Object, implied: bool) -> Object | None:
    for left, right in ((one, other), (other, one)):
        foreign = [source for source in left.patterns if source not in right.patterns]
        if foreign and right.rest is not None:
            raise Unenforceable(
                "patternProperties", "together with additionalProperties of another schema"
            )
    names = dict.fromkeys([*one.members, *other.members])
    rest = None
    if one.rest is not None or other.rest is not None:
        rest = conj(one.rest or (), other.rest or ())
    most, least = smaller(one.most, other.most), max(one.least, other.least)
    if most is not None and most < least:
        return None
    return Object(
        {name: conj(member(one, name), member(other, name)) for name in names},
        tuple(dict.fromkeys(one.patterns + other.patterns)),
        rest,
        tuple(dict.fromkeys(one.required + other.required)),
        least,
        most,
        conj(one.names, other.names),
        frozenset(names) - (one.members.keys() - one.quiet) - (other.members.keys() - other.quiet),
        implied,
    )


def fits(value: Any, shape: Shape, alternatives: Alternatives) -> bool:
    """Whether a value is one that the shape allows."""

    def fit(inner: Any, places: Places) -> bool:
        return any(fits(inner, one, alternatives) for one in alternatives(places))

    if isinstance(shape, Literal):
        return any(same(value, one) for one in shape.values)
    if isinstance(shape, Number):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        number = Fraction(value)
        whole = number.denominator == 1
        return (
            shape.bounds.holds(number)
            and (whole or not shape.integer)
            and (shape.multiple == 1 or (whole and int(number) % shape.multiple == 0))
        )
    if isinstance(shape, String):
        return isinstance(value, str) and _text_fits(value, shape)
    if isinstance(shape, Array):
        return isinstance(value, list) and _list_fits(value, shape, fit)
    return isinstance(value, dict) and _object_fits(value, shape, fit)


def _text_fits(value: str, shape: String) -> bool:
    return (
        shape.least <= len(value) <= (len(value) if shape.most is None else shape.most)
        and all(pattern(source).accepts(value) for source in shape.patterns)
        and not any(pattern(source).accepts(value) for source in shape.without)
        and all(exactly(FORMATS[name]).accepts(value) for name in shape.formats)
        and value not in shape.excluded
    )


def _list_fits(value: list[Any], shape: Array, fit: Callable[[Any, Places], bool]) -> bool:
    if not shape.least <= len(value) <= (len(value) if shape.most is None else shape.most):
        return False
    if shape.unique and any(
        same(one, other) for place, one in enumerate(value) for other in value[:place]
    ):
        return False
    for places, least, most in shape.contains:
        count = sum(fit(one, places) for one in value)
        if not least <= count <= (count if most is None else most):
            return False
    return all(fit(one, shape.item(place)) for place, one in enumerate(value))


def _object_fits(value: dict[str, Any], shape: Object, fit: Callable[[Any, Places], bool]) -> bool:
    return (
        shape.least <= len(value) <= (len(value) if shape.most is None else shape.most)
        and all(name in value for name in shape.required)
        and all(fit(name, shape.names) for name in value)
        and all(fit(inner, member(shape, name)) for name, inner in value.items())
    )


def disjoint(one: Shape, other: Shape, alternatives: Alternatives) -> bool:
    """Whether it is certain that no value fits both."""
    both = merged(one, other, alternatives)
    if both is None:
        return True
    if isinstance(both, Object):
        return any(not alternatives(member(both, name)) for name in both.required)
    if isinstance(both, Array):
        return any(not alternatives(both.item(place)) for place in range(both.least))
    return False


def without(shape: Shape, other: Shape) -> list[Shape]:
    """The values of `shape` that `other`, a shape of the same type, does not allow.

    Raises:
        Unenforceable: no grammar expresses it.
    """
    if isinstance(other, Literal) and not isinstance(shape, Literal):
        if isinstance(shape, String):
            words = {value for value in other.values if isinstance(value, str)}
            return [replace(shape, excluded=shape.excluded | words)]
        raise Unenforceable("not", "numbers, lists and objects cannot be left out one by one")
    if isinstance(shape, String) and isinstance(other, String):
        return _text_without(shape, other)
    if isinstance(shape, Number) and isinstance(other, Number):
        return _number_without(shape, other)
    if isinstance(other, Array) and other == Array(implied=other.implied):
        return []
    raise Unenforceable("not", "what is left out is more than a grammar can tell")


def _text_without(shape: String, other: String) -> list[Shape]:
    if other.formats or other.excluded:
        raise Unenforceable("not", "formats and words cannot be turned round")
    parts: list[Shape] = []
    if other.least:
        parts.append(replace(shape, most=smaller(shape.most, other.least - 1)))
    if other.most is not None:
        parts.append(replace(shape, least=max(shape.least, other.most + 1)))
    parts += [replace(shape, without=(*shape.without, one)) for one in other.patterns]
    parts += [replace(shape, patterns=(*shape.patterns, one)) for one in other.without]
    return parts


def _number_without(shape: Number, other: Number) -> list[Shape]:
    if (other.integer and not shape.integer) or other.multiple > 1:
        raise Unenforceable("not", "integers and multiples cannot be turned round")
    bounds = other.bounds
    parts: list[Shape] = []
    if bounds.low is not None:
        below = type(bounds)(high=bounds.low, high_open=not bounds.low_open)
        parts.append(replace(shape, bounds=shape.bounds & below))
    if bounds.high is not None:
        above = type(bounds)(low=bounds.high, low_open=not bounds.high_open)
        parts.append(replace(shape, bounds=shape.bounds & above))
    return [part for part in parts if isinstance(part, Number) and not part.bounds.empty]
