"""Keywords to shapes: what a schema says by itself, and with all that it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from rbee_agent.grammar.document import NEVER, Document, Pointer
from rbee_agent.grammar.formats import FORMATS
from rbee_agent.grammar.merging import conj, disjoint, fits, member, merged, without
from rbee_agent.grammar.numbers import MAX_MULTIPLE, Bounds
from rbee_agent.grammar.shapes import (
    Array,
    Literal,
    Number,
    Object,
    Places,
    Shape,
    String,
    Unenforceable,
    anything,
    unimplied,
)

MAX_ALTERNATIVES = 128

_TYPES: dict[str, Shape] = {
    "null": Literal((None,)),
    "boolean": Literal((True, False)),
    "string": String(),
    "number": Number(),
    "integer": Number(integer=True),
    "array": Array(),
    "object": Object(),
}
_OF_STRINGS = ("minLength", "maxLength", "pattern", "format")
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_ARRAYS = (
    "items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems",
    "uniqueItems", "contains", "minContains", "maxContains",
)  # fmt: skip
_OF_OBJECTS = (
    "properties", "patternProperties", "additionalProperties", "unevaluatedProperties",
    "propertyNames", "required", "minProperties", "maxProperties",
)  # fmt: skip


class Reader:
    """Gives the alternatives that schemas of one document allow."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: dict[Places, tuple[Shape, ...]] = {(): anything()}
        self._open: set[str] = set()

    def alternatives(self, places: Places) -> tuple[Shape, ...]:
        """The shapes of values for which all these schemas hold.

        Raises:
            Unenforceable: they hold a keyword that cannot be enforced.
        """
        known = self._known.get(places)
        if known is None:
            found: Sequence[Shape] = anything()
            for place in places:
                found = self._both(found, self._of(place))
            known = self._known[places] = tuple(found)
        return known

    # -- one schema -----------------------------------------------------------------------------

    def _of(self, place: str) -> Sequence[Shape]:
        single = self._known.get((place,))
        if single is not None:
            return single
        schema = self._document.part(place)
        if isinstance(schema, bool):
            return anything() if schema else ()
        if place in self._open:
            raise Unenforceable("$ref", "the schema refers to itself without end", place)
        self._open.add(place)
        try:
            found = self._read(place, schema)
        except Unenforceable as error:
            error.where = place if error.where is None else error.where
            raise
        finally:
            self._open.discard(place)
        self._known[(place,)] = tuple(found)
        return found

    def _read(self, place: str, schema: dict[str, Any]) -> Sequence[Shape]:
        found = self._own(place, schema)
        if "$ref" in schema:
            target = self._document.target(place, schema["$ref"])
            found = self._both(found, self._of(target))
        for number, _ in enumerate(_list(schema, "allOf")):
            found = self._both(found, self._of(self._document.child(place, "allOf", number)))
        if "anyOf" in schema:
            found = self._both(found, self._any(place, schema))
        if "oneOf" in schema:
            found = self._both(found, self._one(place, schema))
        if "not" in schema:
            child = self._document.child(place, "not")
            found = self._minus(found, self._of(child))
        if "if" in schema:
            found = self._conditional(place, schema, found)
        for shapes in self._dependents(place, schema):
            found = self._both(found, shapes)
        if "enum" in schema or "const" in schema:
            found = self._literals(schema, found)
        return [self._closed(place, schema, shape) for shape in found]

    def _own(self, place: str, schema: dict[str, Any]) -> Sequence[Shape]:
        """What the keywords for each type say, the types that may be, and which are meant."""
        base: Sequence[Shape] = anything()
        if "type" in schema:
            names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not all(isinstance(name, str) and name in _TYPES for name in names):
                raise Unenforceable("type", "it names no type of JSON")
            base = [_TYPES[name] for name in names if name != "integer" or "number" not in names]
        said = {
            String: any(key in schema for key in _OF_STRINGS),
            Number: any(key in schema for key in _OF_NUMBERS),
            Array: any(key in schema for key in _OF_ARRAYS),
            Object: any(key in schema for key in _OF_OBJECTS),
        }
        meant = "type" not in schema and any(said.values())
        found: list[Shape] = []
        for shape in base:
            # Who says how long a text must be and names no type means texts.
            implied = meant and not said.get(type(shape), False)
            made = self._typed(place, schema, shape)
            if made is not None:
                found.append(replace(made, implied=implied))
        return found

    def _typed(self, place: str, schema: dict[str, Any], shape: Shape) -> Shape | None:
        if isinstance(shape, String):
            return _string(schema)
        if isinstance(shape, Number):
            return _number(schema, integer=shape.integer)
        if isinstance(shape, Array):
            return self._array(place, schema)
        if isinstance(shape, Object):
            return self._object(place, schema)
        return shape

    def _array(self, place: str, schema: dict[str, Any]) -> Shape | None:
        child = self._document.child
        items, key = schema.get("prefixItems", []), "prefixItems"
        rest: Places | None = None
        if isinstance(schema.get("items"), list):
            # As it was before 2020-12.
            items, key = schema["items"], "items"
            if "additionalItems" in schema:
                rest = (child(place, "additionalItems"),)
        elif "items" in schema:
            rest = (child(place, "items"),)
        contains: tuple[tuple[Places, int, int | None], ...] = ()
        if "contains" in schema:
            least = _count(schema, "minContains", 1) or 0
            most = _count(schema, "maxContains", None)
            if least or most is not None:
                contains = (((child(place, "contains"),), least, most),)
        least, most = _count(schema, "minItems", 0) or 0, _count(schema, "maxItems", None)
        if most is not None and most < least:
            return None
        prefix: tuple[Places, ...] = tuple((child(place, key, at),) for at, _ in enumerate(items))
        unique = schema.get("uniqueItems") is True
        return Array(prefix, rest, least, most, contains, unique)

    def _object(self, place: str, schema: dict[str, Any]) -> Shape | None:
        child = self._document.child
        members: dict[str, Places] = {
            name: (child(place, "properties", name),) for name in schema.get("properties", {})
        }
        patterns = tuple(
            (source, (child(place, "patternProperties", source),))
            for source in schema.get("patternProperties", {})
        )
        rest: Places | None = None
        if "additionalProperties" in schema:
            rest = (child(place, "additionalProperties"),)
        names: Places = (child(place, "propertyNames"),) if "propertyNames" in schema else ()
        least, most = _count(schema, "minProperties", 0) or 0, _count(schema, "maxProperties", None)
        if most is not None and most < least:
            return None
        required = tuple(dict.fromkeys(_list(schema, "required")))
        made = Object(members, patterns, rest, required, least, most, names)
        if patterns:
            # What stands under a name must also be what its patterns say.
            return replace(made, members={name: member(made, name) for name in members})
        return made

    # -- several schemas ------------------------------------------------------------------------

    def _both(self, one: Sequence[Shape], other: Sequence[Shape]) -> Sequence[Shape]:
        found = [
            shape
            for left in one
            for right in other
            if (shape := merged(left, right, self.alternatives)) is not None
        ]
        if len(found) > MAX_ALTERNATIVES:
            raise Unenforceable("anyOf", f"it multiplies to more than {MAX_ALTERNATIVES} cases")
        return found

    def _any(self, place: str, schema: dict[str, Any]) -> Sequence[Shape]:
        branches = range(len(_list(schema, "anyOf")))
        return [
            shape
            for number in branches
            for shape in self._of(self._document.child(place, "anyOf", number))
        ]

    def _one(self, place: str, schema: dict[str, Any]) -> Sequence[Shape]:
        """Each branch without what the others allow too."""
        branches = [
            self._of(self._document.child(place, "oneOf", number))
            for number in range(len(_list(schema, "oneOf")))
        ]
        found: list[Shape] = []
        for number, branch in enumerate(branches):
            left = branch
            for other in (*branches[:number], *branches[number + 1 :]):
                try:
                    left = self._minus(left, other)
                except Unenforceable as error:
                    raise Unenforceable(
                        "oneOf", "a value may fit several of its schemas, and " + error.why
                    ) from error
            found += left
        return found

    def _minus(self, shapes: Sequence[Shape], others: Sequence[Shape]) -> Sequence[Shape]:
        for other in others:
            shapes = [left for shape in shapes for left in self._without(shape, other)]
        return shapes

    def _without(self, shape: Shape, other: Shape) -> Sequence[Shape]:
        if isinstance(shape, Literal):
            kept = tuple(
                value for value in shape.values if not fits(value, other, self.alternatives)
            )
            return [replace(shape, values=kept)] if kept else []
        if disjoint(shape, other, self.alternatives):
            return [shape]
        if isinstance(shape, Object) and isinstance(other, Object):
            return self._object_without(shape, other)
        return without(shape, other)

    def _object_without(self, shape: Object, other: Object) -> Sequence[Shape]:
        if other.patterns or other.rest is not None or other.names or other.least:
            raise Unenforceable("not", "objects are left out by their own members only")
        if other.most is not None:
            raise Unenforceable("not", "objects are left out by their own members only")
        found: list[Shape] = []
        for name in other.required:
            if name not in shape.required:
                lacking = Object({name: (NEVER,)}, quiet=frozenset({name}))
                found += self._both([shape], [lacking])
        for name, places in other.members.items():
            opposite = self._opposite(places)
            if self.alternatives(opposite):
                having = Object({name: opposite}, required=(name,), quiet=frozenset({name}))
                found += self._both([shape], [having])
        return found

    def _opposite(self, places: Places) -> Places:
        inner = {"allOf": [Pointer(place) for place in places]}
        return (self._document.derived("", {"not": Pointer(self._document.derived("", inner))}),)

    def _conditional(
        self, place: str, schema: dict[str, Any], found: Sequence[Shape]
    ) -> Sequence[Shape]:
        if "then" not in schema and "else" not in schema:
            return found
        child = self._document.child
        asked = self._of(child(place, "if"))
        met = self._both(found, asked)
        if "then" in schema:
            met = self._both(met, self._of(child(place, "then")))
        try:
            unmet = self._minus(found, asked)
        except Unenforceable as error:
            raise Unenforceable("if", error.why) from error
        if "else" in schema:
            unmet = self._both(unmet, self._of(child(place, "else")))
        return [*met, *unmet]

    def _dependents(self, place: str, schema: dict[str, Any]) -> Iterable[Sequence[Shape]]:
        for key in ("dependentRequired", "dependentSchemas", "dependencies"):
            for name, wanted in schema.get(key, {}).items():
                yield self._dependent(place, key, name, wanted)

    def _dependent(self, place: str, key: str, name: str, wanted: Any) -> Sequence[Shape]:
        """Either the member is not there, or what depends on it holds."""
        others = [replace(shape, implied=True) for shape in anything()[1:]]
        lacking = Object({name: (NEVER,)})
        if isinstance(wanted, list):
            return [lacking, Object(required=(name, *wanted)), *others]
        inner = self._of(self._document.child(place, key, name))
        return [lacking, *self._both([Object(required=(name,))], inner), *others]

    def _literals(self, schema: dict[str, Any], found: Sequence[Shape]) -> Sequence[Shape]:
        values: list[Any] = [schema["const"]] if "const" in schema else list(schema["enum"])
        if "const" in schema and "enum" in schema:
            values = [one for one in values if fits(one, Literal(tuple(schema["enum"])), _nothing)]
        kept = tuple(
            value for value in values if any(fits(value, one, self.alternatives) for one in found)
        )
        return [Literal(kept)] if kept else []

    def _closed(self, place: str, schema: dict[str, Any], shape: Shape) -> Shape:
        """With what nobody in this schema has spoken of being as `unevaluated…` wants it."""
        child = self._document.child
        if isinstance(shape, Object) and shape.rest is None and "unevaluatedProperties" in schema:
            rest = (child(place, "unevaluatedProperties"),)
            closed = {name: conj(shape.members[name], rest) for name in shape.quiet}
            return replace(shape, rest=rest, members={**shape.members, **closed}, quiet=frozenset())
        if isinstance(shape, Array) and shape.rest is None and "unevaluatedItems" in schema:
            if shape.contains:
                raise Unenforceable("unevaluatedItems", "together with contains")
            return replace(shape, rest=(child(place, "unevaluatedItems"),))
        return shape


def meant(shapes: Sequence[Shape]) -> list[Shape]:
    """Those that were asked for, where some were."""
    outright = [shape for shape in shapes if not shape.implied]
    return outright or [unimplied(shape) for shape in shapes]


def _string(schema: dict[str, Any]) -> Shape | None:
    least, most = _count(schema, "minLength", 0) or 0, _count(schema, "maxLength", None)
    if most is not None and most < least:
        return None
    formats: tuple[str, ...] = ()
    if "format" in schema:
        if schema["format"] not in FORMATS:
            raise Unenforceable("format", f"known formats are {', '.join(sorted(FORMATS))}")
        formats = (schema["format"],)
    patterns = (schema["pattern"],) if "pattern" in schema else ()
    return String(least, most, patterns, formats=formats)


def _number(schema: dict[str, Any], *, integer: bool) -> Shape | None:
    bounds = Bounds()
    for key in ("minimum", "exclusiveMinimum"):
        if key in schema:
            bounds &= Bounds(low=_fraction(schema, key), low_open=key != "minimum")
    for key in ("maximum", "exclusiveMaximum"):
        if key in schema:
            bounds &= Bounds(high=_fraction(schema, key), high_open=key != "maximum")
    multiple = 1
    if "multipleOf" in schema:
        of = _fraction(schema, "multipleOf")
        if of.denominator != 1 or not 0 < of <= MAX_MULTIPLE:
            raise Unenforceable("multipleOf", f"only integers from 1 to {MAX_MULTIPLE}")
        multiple, integer = int(of), True
    return None if bounds.empty else Number(bounds, integer, multiple)


def _fraction(schema: dict[str, Any], key: str) -> Fraction:
    value = schema[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unenforceable(key, "it must be a number")
    if isinstance(value, int):
        return Fraction(value)
    # The decimal that was written, not the double next to it.
    try:
        return Fraction(repr(value))
    except ValueError as error:
        raise Unenforceable(key, "it must be a finite number") from error


def _count(schema: dict[str, Any], key: str, default: int | None) -> int | None:
    value = schema.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Unenforceable(key, "it must be a whole number")
    if value < 0:
        raise Unenforceable(key, "it must not be negative")
    return int(value)


def _list(schema: dict[str, Any], key: str) -> list[Any]:
    value = schema.get(key, [])
    if not isinstance(value, list):
        raise Unenforceable(key, "it must be a list")
    return value


def _nothing(_: Places) -> tuple[Shape, ...]:
    return ()
