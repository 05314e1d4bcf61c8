"""Shapes as grammar rules: how a value is written as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rbee_agent.grammar import numbers
from rbee_agent.grammar.document import Document, Pointer
from rbee_agent.grammar.formats import FORMATS
from rbee_agent.grammar.gbnf import (
    EMPTY,
    MAX_REPEAT,
    NEVER,
    Alt,
    Chars,
    Expr,
    Grammar,
    Lit,
    Ref,
    alt,
    optional,
    rep,
    seq,
)
from rbee_agent.grammar.letters import Written, add_machine, in_json, plain
from rbee_agent.grammar.machines import Machine, Or, TooLarge, lengths, machine, word
from rbee_agent.grammar.merging import conj, fits, member
from rbee_agent.grammar.patterns import ASCII, TEXT, UnreadablePattern, exactly, pattern
from rbee_agent.grammar.reading import Reader, meant
from rbee_agent.grammar.shapes import (
    Array,
    Literal,
    Number,
    Object,
    Places,
    Shape,
    String,
    Unenforceable,
)

MAX_RULES = 20_000
MAX_UNIQUE = 8
"""Values among which different ones can be told apart."""
_COMMA = seq(Lit(","), Ref("space"))
_SPACES = alt(Lit(" "), seq(Lit("\n"), rep(Chars("[ \\t]"), 0, 20)))


class Writer:
    """Adds rules for the values of one document to a grammar."""

    def __init__(self, document: Document, grammar: Grammar, prefix: str) -> None:
        """Write into `grammar`; all names but the common ones begin with `prefix`."""
        self._document = document
        self._reader = Reader(document)
        self._grammar = grammar
        self._prefix = prefix
        self._rules: dict[Places, str] = {}
        self._machines: dict[Machine, Expr] = {}
        add_common(grammar)

    def value(self, places: Places) -> Ref:
        """The rule of a value for which all these schemas hold.

        Raises:
            Unenforceable: they hold a keyword that cannot be enforced.
            TooLarge: a pattern is too complicated.
        """
        if not places:
            return Ref("value")
        name = self._rules.get(places)
        if name is None:
            name = self._rules[places] = self._grammar.fresh(self._prefix)
            if len(self._grammar.rules) > MAX_RULES:
                raise Unenforceable("", "the schema is too large")
            try:
                shapes = meant(self._reader.alternatives(places))
                self._grammar.rules[name] = alt(*(self._shape(shape) for shape in shapes))
            except (Unenforceable, UnreadablePattern, TooLarge) as error:
                raise _placed(error, places[0]) from error
        return Ref(name)

    def _shape(self, shape: Shape) -> Expr:
        if isinstance(shape, Literal):
            return alt(*(Lit(_dumped(value)) for value in shape.values))
        if isinstance(shape, Number):
            return self._number(shape)
        if isinstance(shape, String):
            return self._string(shape)
        return self._array(shape) if isinstance(shape, Array) else self._object(shape)

    def _number(self, shape: Number) -> Expr:
        if shape.bounds.unbounded and shape.multiple == 1:
            return Ref("integer" if shape.integer else "number")
        if shape.integer:
            return self._machine(numbers.integers(shape.bounds, shape.multiple), plain)
        return self._machine(numbers.decimals(shape.bounds), plain)

    # -- texts ----------------------------------------------------------------------------------

    def _string(self, shape: String) -> Expr:
        if not (shape.patterns or shape.without or shape.formats or shape.excluded):
            if shape.least > MAX_REPEAT:
                raise Unenforceable("minLength", f"at most {MAX_REPEAT}")
            # Longer texts than llama.cpp counts to are not offered: fewer answers, none wrong.
            most = None if shape.most is None else min(shape.most, MAX_REPEAT)
            return seq(Lit('"'), rep(Ref("char"), shape.least, most), Lit('"'))
        return seq(Lit('"'), self._machine(_texts(shape), in_json), Lit('"'))

    def _machine(self, made: Machine, written: Written) -> Expr:
        known = self._machines.get(made)
        if known is None:
            known = self._machines[made] = add_machine(self._grammar, made, written, self._prefix)
        return known

    # -- lists ----------------------------------------------------------------------------------

    def _array(self, shape: Array) -> Expr:
        least, most, rest = shape.least, shape.most, shape.rest
        if rest is None and shape.prefix:
            # Nothing was said about more items: they are offered only where they are needed.
            most = len(shape.prefix) if most is None else min(most, len(shape.prefix))
            most = max(most, least)
        if shape.unique and (most is None or most > 1):
            return self._unique(shape, most)
        if shape.contains:
            return self._containing(shape, most)
        return _bracketed(self._run(shape, 0, least, most))

    def _run(self, shape: Array, begin: int, least: int, most: int | None) -> Expr:
        """The items from the place `begin`, at least and at most so many in the whole list."""
        if most is not None and begin >= most:
            return EMPTY
        if max(least, most or 0) > MAX_REPEAT:
            raise Unenforceable("maxItems" if most else "minItems", f"at most {MAX_REPEAT}")
        comma = _COMMA if begin else EMPTY
        if begin < len(shape.prefix):
            item = seq(comma, self.value(shape.item(begin)))
            tail = seq(item, self._run(shape, begin + 1, least, most))
            return tail if begin < least else optional(tail)
        item = self.value(shape.rest or ())
        more = None if most is None else most - begin
        if begin:
            return rep(seq(_COMMA, item), max(0, least - begin), more)
        few = rep(seq(_COMMA, item), max(0, least - 1), None if more is None else more - 1)
        return seq(item, few) if least else optional(seq(item, few))

    def _containing(self, shape: Array, most: int | None) -> Expr:
        """The items that must be there come first, behind the prefix."""
        if len(shape.contains) > 1:
            raise Unenforceable("contains", "only once in a schema")
        places, least, limit = shape.contains[0]
        others = shape.rest or ()
        if limit is not None:
            others = self._not_counted(others, places)
        wanted = conj(shape.rest or (), places)
        size = len(shape.prefix)
        listed = Array((*shape.prefix, *(wanted for _ in range(least))), others, most=most)
        return _bracketed(self._run(listed, 0, max(shape.least, size + least), most))

    def _not_counted(self, others: Places, places: Places) -> Places:
        """Items that `contains` does not count."""
        opposite = self._document.derived("", {"not": Pointer(places[0])})
        found = conj(others, (opposite,))
        try:
            self._reader.alternatives(found)
        except Unenforceable as error:
            raise Unenforceable("maxContains", error.why) from error
        return found

    def _unique(self, shape: Array, most: int | None) -> Expr:
        """Different values of a few, in any order: a rule for each set of those already used."""
        choices = self._reader.alternatives(shape.rest or ())
        values = [v for one in choices if isinstance(one, Literal) for v in one.values]
        if (
            shape.prefix
            or shape.contains
            or any(not isinstance(one, Literal) for one in choices)
            or len(values) > MAX_UNIQUE
        ):
            raise Unenforceable("uniqueItems", f"only for lists of at most {MAX_UNIQUE} constants")
        return _bracketed(self._others(tuple(values), frozenset(), shape.least, most, {}))

    def _others(
        self,
        values: tuple[Any, ...],
        used: frozenset[int],
        least: int,
        most: int | None,
        known: dict[frozenset[int], Ref],
    ) -> Expr:
        if used in known:
            return known[used]
        known[used] = ref = Ref(self._grammar.fresh(self._prefix))
        options: list[Expr] = [EMPTY] if len(used) >= least else []
        for place, value in enumerate(values):
            if place not in used and (most is None or len(used) < most):
                rest = self._others(values, used | {place}, least, most, known)
                options.append(seq(_COMMA if used else EMPTY, Lit(_dumped(value)), rest))
        self._grammar.rules[ref.name] = Alt(tuple(options))
        return ref

    # -- objects --------------------------------------------------------------------------------

    def _object(self, shape: Object) -> Expr:
        names = [*shape.members, *(one for one in shape.required if one not in shape.members)]
        names = [name for name in names if self._may_be_called(name, shape.names)]
        if any(name not in names for name in shape.required):
            return NEVER
        others = self._others_of(shape, names)
        if shape.most is not None and shape.most < len(shape.required):
            return NEVER
        if shape.least > len(names) + (others != NEVER):
            raise Unenforceable(
                "minProperties", "more than the named members and one other cannot be told apart"
            )
        counts = _Counts(
            shape.least,
            shape.most,
            [(name, _pair(name, self.value(member(shape, name)))) for name in names],
            frozenset(shape.required),
            others,
        )
        body = counts.rest(self._grammar, self._prefix, 0, 0)
        return seq(Lit("{"), Ref("space"), body, Ref("space"), Lit("}"))

    def _may_be_called(self, name: str, names: Places) -> bool:
        alternatives = self._reader.alternatives
        return any(fits(name, one, alternatives) for one in alternatives(names))

    def _others_of(self, shape: Object, names: Sequence[str]) -> Expr:
        """A member that has no name of its own in the schema."""
        options: list[Expr] = []
        known = machine(Or(tuple(word(name) for name in names))) if names else None
        for place, (source, places) in enumerate(shape.patterns):
            keys = pattern(source) & lengths(0, None, ASCII)
            for number, (other, _) in enumerate(shape.patterns):
                if number != place:
                    keys = keys - pattern(other)
            options.append(self._members(keys, known, shape.names, places))
        named = bool(shape.members or shape.patterns)
        needed = shape.least > len(names)
        if shape.rest is not None or not named or needed:
            keys = lengths(0, None, ASCII if shape.patterns else TEXT)
            for source, _ in shape.patterns:
                keys = keys - pattern(source)
            options.append(self._members(keys, known, shape.names, shape.rest or ()))
        return alt(*options)

    def _members(self, keys: Machine, known: Machine | None, names: Places, places: Places) -> Expr:
        if places and not self._reader.alternatives(places):
            return NEVER
        if known is not None:
            keys = keys - known
        written: list[Expr] = []
        for one in self._reader.alternatives(names):
            if isinstance(one, Literal):
                texts = [v for v in one.values if isinstance(v, str) and keys.accepts(v)]
                written += [Lit(_dumped(text)) for text in texts]
            elif isinstance(one, String):
                free = one == String(implied=one.implied)
                chosen = keys if free else keys & _texts(one)
                written.append(seq(Lit('"'), self._machine(chosen, in_json), Lit('"')))
        return seq(alt(*written), Lit(":"), Ref("space"), self.value(places))


class _Counts:
    """The members of an object in their order, counted where there are limits."""

    def __init__(
        self,
        least: int,
        most: int | None,
        members: list[tuple[str, Expr]],
        required: frozenset[str],
        others: Expr,
    ) -> None:
        self._least = least
        self._most = most
        self._members = members
        self._required = required
        self._others = others
        self._cap = 1 if not least and most is None else len(members)
        self._known: dict[tuple[int, int], Expr] = {}

    def rest(self, grammar: Grammar, prefix: str, place: int, written: int) -> Expr:
        """What may follow when `written` members stand there and those from `place` are left."""
        written = min(written, self._cap)
        known = self._known.get((place, written))
        if known is not None:
            return known
        ref = self._known[place, written] = Ref(grammar.fresh(prefix))
        comma = _COMMA if written else EMPTY
        if place == len(self._members):
            grammar.rules[ref.name] = self._end(written, comma)
            return ref
        name, pair = self._members[place]
        options = []
        if self._most is None or written < self._most:
            options.append(seq(comma, pair, self.rest(grammar, prefix, place + 1, written + 1)))
        if name not in self._required:
            options.append(self.rest(grammar, prefix, place + 1, written))
        grammar.rules[ref.name] = Alt(tuple(options))
        return ref

    def _end(self, written: int, comma: Expr) -> Expr:
        missing = self._least - written
        if missing > 1:
            return NEVER
        more = None if self._most is None else self._most - written
        if more is not None and more <= 0:
            return NEVER if missing > 0 else EMPTY
        if self._others == NEVER:
            return NEVER if missing > 0 else EMPTY
        few = rep(seq(_COMMA, self._others), 0, None if more is None else more - 1)
        some = seq(comma, self._others, few)
        return some if missing > 0 else optional(some)


def _placed(error: Exception, place: str) -> Unenforceable:
    """The same refusal with the place where it belongs."""
    if isinstance(error, Unenforceable):
        return Unenforceable(error.keyword, error.why, error.where or place)
    why = "it is too complicated" if isinstance(error, TooLarge) else str(error)
    return Unenforceable("pattern", why, place)


def add_common(grammar: Grammar) -> None:
    """The rules that every JSON grammar shares."""
    if "space" in grammar.rules:
        return
    string = seq(Lit('"'), rep(Ref("char"), 0, None), Lit('"'))
    pair = seq(Ref("string"), Lit(":"), Ref("space"), Ref("value"))
    whole = alt(Lit("0"), seq(Chars("[1-9]"), rep(Chars("[0-9]"), 0, numbers.DIGITS - 1)))
    hexes = "[0-9a-fA-F]"
    grammar.rules |= {
        "space": optional(_SPACES),
        "char": alt(
            Chars('[^"\\\\\\x00-\\x1F\\x7F]'),
            seq(Lit("\\"), Chars('["\\\\/bfnrt]')),
            seq(Lit("\\u"), Chars("[0-9a-cA-CeEfF]"), rep(Chars(hexes), 3, 3)),
            seq(Lit("\\u"), Chars("[dD]"), Chars("[0-7]"), rep(Chars(hexes), 2, 2)),
        ),
        "string": string,
        "integer": seq(optional(Lit("-")), whole),
        "number": seq(
            Ref("integer"),
            optional(seq(Lit("."), rep(Chars("[0-9]"), 1, numbers.DIGITS))),
            optional(seq(Chars("[eE]"), optional(Chars("[-+]")), rep(Chars("[0-9]"), 1, 2))),
        ),
        "array": _bracketed(optional(_listed(Ref("value")))),
        "object": seq(
            Lit("{"), Ref("space"), optional(_listed(pair)), Ref("space"), Lit("}")
        ),
        "value": alt(
            *(Ref(name) for name in ("object", "array", "string", "number")),
            *(Lit(name) for name in ("null", "true", "false")),
        ),
    }  # fmt: skip


def _pair(name: str, value: Expr) -> Expr:
    return seq(Lit(_dumped(name)), Lit(":"), Ref("space"), value)


def _listed(item: Expr) -> Expr:
    return seq(item, rep(seq(_COMMA, item), 0, None))


def _bracketed(items: Expr) -> Expr:
    return seq(Lit("["), Ref("space"), items, Ref("space"), Lit("]"))


def _texts(shape: String) -> Machine:
    """The texts of a shape as one automaton."""
    made = lengths(0, None, TEXT)
    for source in shape.patterns:
        made = made & pattern(source)
    for name in shape.formats:
        made = made & exactly(FORMATS[name])
    for source in shape.without:
        made = (made & lengths(0, None, ASCII)) - pattern(source)
    if shape.excluded:
        made = made - machine(Or(tuple(word(one) for one in sorted(shape.excluded))))
    if shape.least or shape.most is not None:
        made = made & lengths(shape.least, shape.most, TEXT)
    return made


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
