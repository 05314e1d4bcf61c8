"""Automata as rules: one for each state, with as few beginnings as may be.

llama.cpp tries every token against every way in which a rule may begin, so characters that lead to
the same state are one class, and escapes share their backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rbee_agent.grammar.gbnf import (
    EMPTY,
    NEVER,
    Alt,
    Chars,
    Expr,
    Grammar,
    Lit,
    Ref,
    alt,
    code,
    seq,
)
from rbee_agent.grammar.machines import Machine, Range, lengths
from rbee_agent.grammar.patterns import TEXT, pattern

_SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
"""What stands behind the backslash of a character that JSON escapes in one letter."""
_FIRST_PLAIN = 0x20

Written = Callable[[Sequence[Range]], Expr]


def add_machine(grammar: Grammar, made: Machine, written: Written, prefix: str) -> Expr:
    """Add one rule for each state of an automaton; returns what stands for its language."""
    if made.empty:
        return NEVER
    names = [grammar.fresh(prefix) for _ in made.edges]
    for state, row in enumerate(made.edges):
        ways: dict[int, list[Range]] = {}
        for low, high, target in row:
            ways.setdefault(target, []).append((low, high))
        options: list[Expr] = [
            seq(written(ranges), Ref(names[target])) for target, ranges in ways.items()
        ]
        if state in made.accepting:
            options.append(EMPTY)
        grammar.rules[names[state]] = Alt(tuple(options))
    return Ref(names[0])


def text_up_to(grammar: Grammar, mark: str, prefix: str) -> Expr:
    """Any text that ends with `mark` and holds it nowhere else."""
    free = lengths(0, None, TEXT) - pattern(re.escape(mark))
    return seq(add_machine(grammar, free, plain, prefix), Lit(mark))


def plain(ranges: Sequence[Range]) -> Expr:
    """One character of these, standing for itself."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return Lit(chr(ranges[0][0]))
    parts = (code(low) if low == high else f"{code(low)}-{code(high)}" for low, high in ranges)
    return Chars(f"[{''.join(parts)}]") if ranges else NEVER


def in_json(ranges: Sequence[Range]) -> Expr:
    """One character of these, as it stands in a JSON text: some are escaped."""
    free: list[Range] = []
    escaped: list[int] = []
    for low, high in ranges:
        escaped += range(low, min(high, _FIRST_PLAIN - 1) + 1)
        begin = max(low, _FIRST_PLAIN)
        for point in (34, 92):
            if begin <= point <= high:
                escaped.append(point)
                if begin < point:
                    free.append((begin, point - 1))
                begin = point + 1
        if begin <= high:
            free.append((begin, high))
    return alt(plain(free), _escapes(escaped))


def _escapes(points: Sequence[int]) -> Expr:
    short = [(ord(_SHORT[point]),) * 2 for point in points if point in _SHORT]
    long = [point for point in points if point not in _SHORT]
    numbers = alt(
        *(
            seq(Lit(str(half)), plain([(ord(f"{one % 16:x}"),) * 2 for one in digits]))
            for half in (0, 1)
            if (digits := [point for point in long if point // 16 == half])
        )
    )
    behind = alt(plain(short), seq(Lit("u00"), numbers))
    return seq(Lit("\\"), behind)
