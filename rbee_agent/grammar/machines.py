"""Languages of strings as finite automata: what patterns, lengths and excluded words become.

Automata can be intersected, subtracted and counted, which grammars cannot; in the end they are
written as grammars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

LAST = 0x10FFFF
Range = tuple[int, int]
"""Code points from, to, both included."""
MAX_STATES = 3000


class TooLarge(Exception):
    """The automaton would have too many states."""


@dataclass(frozen=True, slots=True)
class Set:
    """One character of these ranges."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Cat:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Many:
    """Again and again."""

    what: Node
    least: int
    most: int | None


Node = Set | Cat | Or | Many


def union(*sets: Iterable[Range]) -> tuple[Range, ...]:
    """Ranges in order, without overlap."""
    out: list[Range] = []
    for low, high in sorted(one for ranges in sets for one in ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def complement(ranges: Iterable[Range], last: int = LAST) -> tuple[Range, ...]:
    """All characters up to `last` that are not in the ranges."""
    out: list[Range] = []
    begin = 0
    for low, high in union(ranges):
        if begin < low:
            out.append((begin, min(low - 1, last)))
        begin = high + 1
    return (*out, (begin, last)) if begin <= last else tuple(out)


def common(left: Iterable[Range], right: Iterable[Range]) -> tuple[Range, ...]:
    """Characters of both."""
    right = tuple(right)
    return union(
        (max(a, c), min(b, d)) for a, b in left for c, d in right if max(a, c) <= min(b, d)
    )


def word(text: str) -> Node:
    """Exactly this text."""
    return Cat(tuple(Set(((ord(letter), ord(letter)),)) for letter in text))


@dataclass(frozen=True, slots=True)
class Machine:
    """A deterministic automaton; it begins in state 0 and has no edge that leads nowhere."""

    edges: tuple[tuple[tuple[int, int, int], ...], ...]
    """For each state: from code point, to code point, next state."""
    accepting: frozenset[int]

    @property
    def empty(self) -> bool:
        """Whether it accepts no text at all."""
        return not self.accepting

    def accepts(self, text: str | Sequence[int]) -> bool:
        """Whether a text belongs to the language."""
        state = 0
        for letter in text:
            point = ord(letter) if isinstance(letter, str) else letter
            for low, high, target in self.edges[state]:
                if low <= point <= high:
                    state = target
                    break
            else:
                return False
        return state in self.accepting

    def __and__(self, other: Machine) -> Machine:
        return _product(self, other, lambda left, right: left and right)

    def __sub__(self, other: Machine) -> Machine:
        return _product(self, other, lambda left, right: left and not right)


def machine(node: Node) -> Machine:
    """The automaton of an expression.

    Raises:
        TooLarge: it has too many states.
    """
    nfa = _Nfa()
    end = nfa.add(node, nfa.state())
    return _minimal(_determined(nfa, end))


def build(
    start: object,
    step: Callable[[object], Iterable[tuple[int, int, object]]],
    accepts: Callable[[object], bool],
) -> Machine:
    """An automaton from any states that can be compared.

    Args:
        start: its first state.
        step: the edges of a state, without overlap.
        accepts: whether a text may end in a state.

    Raises:
        TooLarge: it has too many states.
    """
    numbers: dict[object, int] = {start: 0}
    order, edges = [start], []
    for state in order:
        row = []
        for low, high, target in step(state):
            if target not in numbers:
                numbers[target] = len(order)
                order.append(target)
                if len(order) > MAX_STATES:
                    raise TooLarge
            row.append((low, high, numbers[target]))
        edges.append(tuple(row))
    accepting = frozenset(numbers[state] for state in order if accepts(state))
    return _minimal(Machine(tuple(edges), accepting))


def lengths(least: int, most: int | None, ranges: tuple[Range, ...]) -> Machine:
    """All texts of so many characters of `ranges`."""
    return machine(Many(Set(ranges), least, most))


class _Nfa:
    """Thompson's construction: states, edges with characters, and edges without."""

    def __init__(self) -> None:
        self.moves: list[list[tuple[int, int, int]]] = []
        self.jumps: list[list[int]] = []

    def state(self) -> int:
        if len(self.moves) > 20 * MAX_STATES:
            raise TooLarge
        self.moves.append([])
        self.jumps.append([])
        return len(self.moves) - 1

    def add(self, node: Node, start: int) -> int:
        if isinstance(node, Set):
            end = self.state()
            self.moves[start] += [(low, high, end) for low, high in node.ranges]
            return end
        if isinstance(node, Cat):
            for part in node.parts:
                start = self.add(part, start)
            return start
        if isinstance(node, Or):
            end = self.state()
            for option in node.options:
                begin = self.state()
                self.jumps[start].append(begin)
                self.jumps[self.add(option, begin)].append(end)
            return end
        return self._many(node, start)

    def _many(self, node: Many, start: int) -> int:
        for _ in range(node.least):
            start = self.add(node.what, start)
        end = self.state()
        self.jumps[start].append(end)
        if node.most is None:
            begin = self.state()
            self.jumps[start].append(begin)
            done = self.add(node.what, begin)
            self.jumps[done] += [begin, end]
            return end
        for _ in range(node.most - node.least):
            start = self.add(node.what, start)
            self.jumps[start].append(end)
        return end

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        found, open_ = set(states), list(states)
        while open_:
            for target in self.jumps[open_.pop()]:
                if target not in found:
                    found.add(target)
                    open_.append(target)
        return frozenset(found)


def _determined(nfa: _Nfa, end: int) -> Machine:
    def step(state: object) -> Iterable[tuple[int, int, object]]:
        assert isinstance(state, frozenset)  # noqa: S101 - what `closed` gives
        moves = [move for one in state for move in nfa.moves[one]]
        for low, high, targets in _split(moves):
            yield low, high, nfa.closed(targets)

    def accepts(state: object) -> bool:
        return isinstance(state, frozenset) and end in state

    return build(nfa.closed([0]), step, accepts)


def _split(moves: Sequence[tuple[int, int, int]]) -> Iterable[tuple[int, int, frozenset[int]]]:
    """Overlapping ranges as disjoint ones, each with all its targets."""
    cuts = sorted({low for low, _, _ in moves} | {high + 1 for _, high, _ in moves})
    for begin, after in pairwise(cuts):
        targets = frozenset(to for low, high, to in moves if low <= begin <= high)
        if targets:
            yield begin, after - 1, targets


def _product(left: Machine, right: Machine, wanted: Callable[[bool, bool], bool]) -> Machine:
    """Both at once; the right one may get lost, which is a state too."""

    def step(state: object) -> Iterable[tuple[int, int, object]]:
        assert isinstance(state, tuple)  # noqa: S101 - pairs, as built below
        one, two = state
        others = () if two is None else right.edges[two]
        for low, high, target in left.edges[one]:
            begin = low
            for other_low, other_high, other in sorted(others):
                if other_high < begin or other_low > high:
                    continue
                if begin < other_low:
                    yield begin, other_low - 1, (target, None)
                yield max(begin, other_low), min(high, other_high), (target, other)
                begin = other_high + 1
            if begin <= high:
                yield begin, high, (target, None)

    def accepts(state: object) -> bool:
        assert isinstance(state, tuple)  # noqa: S101 - likewise
        return wanted(state[0] in left.accepting, state[1] in right.accepting)

    return build((0, 0), step, accepts)


def _minimal(made: Machine) -> Machine:
    """Without dead states, and equal states made one (Moore's partition)."""
    alive = _alive(made)
    if 0 not in alive:
        return Machine(((),), frozenset())
    block = [int(state in made.accepting) for state in range(len(made.edges))]
    while True:
        signs: dict[object, int] = {}
        fresh = []
        for state, row in enumerate(made.edges):
            seen = _merged((a, b, block[to]) for a, b, to in row if to in alive)
            fresh.append(signs.setdefault((block[state], seen), len(signs)))
        if len(signs) == len(set(block)):
            break
        block = fresh
    block = fresh
    return _numbered(made, alive, block)


def _numbered(made: Machine, alive: set[int], block: list[int]) -> Machine:
    first = {block[0]: 0}
    order = [0]
    edges = []
    for state in order:
        row = []
        for low, high, to in made.edges[state]:
            if to not in alive:
                continue
            if block[to] not in first:
                first[block[to]] = len(order)
                order.append(to)
            row.append((low, high, first[block[to]]))
        edges.append(_merged(row))
    accepting = frozenset(place for place, state in enumerate(order) if state in made.accepting)
    return Machine(tuple(edges), accepting)


def _merged(row: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    out: list[tuple[int, int, int]] = []
    for low, high, to in sorted(row):
        if out and out[-1][2] == to and out[-1][1] + 1 == low:
            out[-1] = (out[-1][0], high, to)
        else:
            out.append((low, high, to))
    return tuple(out)


def _alive(made: Machine) -> set[int]:
    """States from which an end can be reached."""
    before: dict[int, set[int]] = {}
    for state, row in enumerate(made.edges):
        for _, _, to in row:
            before.setdefault(to, set()).add(state)
    found, open_ = set(made.accepting), list(made.accepting)
    while open_:
        for state in before.get(open_.pop(), ()):
            if state not in found:
                found.add(state)
                open_.append(state)
    return found
