"""Writes random texts of a grammar: breadth that no model has the time for."""

from __future__ import annotations

import random

from rbee_agent.grammar.gbnf import Alt, Chars, Expr, Grammar, Lit, Ref, Rep, Seq

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class RandomWriter:
    """One grammar and a source of chance; what may end, ends the sooner the longer it gets."""

    def __init__(self, grammar: Grammar, chance: random.Random) -> None:
        self._rules = grammar.pruned().rules
        self._chance = chance
        self._left = 0
        self._costs: dict[str, int] = dict.fromkeys(self._rules, 10**6)
        for _ in range(len(self._rules) + 1):
            fresh = {name: 1 + self._cost(rule) for name, rule in self._rules.items()}
            if fresh == self._costs:
                break
            self._costs = fresh

    def text(self, rule: str, budget: int = 60) -> str:
        """A text of a rule; behind `budget` steps the shortest way is taken."""
        self._left = budget
        out: list[str] = []
        todo: list[Expr] = [Ref(rule)]
        while todo:
            self._left -= 1
            todo += reversed(self._step(todo.pop(), out))
        return "".join(out)

    def _step(self, expr: Expr, out: list[str]) -> list[Expr]:
        if isinstance(expr, Lit):
            out.append(expr.text)
        elif isinstance(expr, Chars):
            out.append(self._letter(expr.gbnf))
        elif isinstance(expr, Ref):
            return [self._rules[expr.name]]
        elif isinstance(expr, Seq):
            return list(expr.parts)
        elif isinstance(expr, Alt):
            if self._left > 0:
                return [self._chance.choice(expr.options)]
            return [min(expr.options, key=self._cost)]
        else:
            most = expr.least + 3 if expr.most is None else min(expr.most, expr.least + 3)
            count = self._chance.randint(expr.least, most) if self._left > 0 else expr.least
            if expr.most is not None and self._left > 0 and self._chance.random() < 0.1:
                count = expr.most
            return [expr.what] * count
        return []

    def _cost(self, expr: Expr) -> int:
        if isinstance(expr, Ref):
            return self._costs[expr.name]
        if isinstance(expr, Seq):
            return sum(map(self._cost, expr.parts))
        if isinstance(expr, Alt):
            return min(map(self._cost, expr.options))
        return expr.least * self._cost(expr.what) if isinstance(expr, Rep) else 1

    def _letter(self, gbnf: str) -> str:
        ranges, negated = _ranges(gbnf)
        if negated:
            pool = "abcXYZ 019-_/.,:;é世🐝{}[]'"
            return self._chance.choice(
                [c for c in pool if not any(a <= ord(c) <= b for a, b in ranges)]
            )
        low, high = self._chance.choice(ranges)
        return chr(self._chance.choice([low, high, self._chance.randint(low, high)]))


def _ranges(gbnf: str) -> tuple[list[tuple[int, int]], bool]:
    inside = gbnf[1:-1]
    negated = inside.startswith("^")
    place, points, ranges = int(negated), [], []
    while place < len(inside):
        letter = inside[place]
        if letter == "\\":
            kind = inside[place + 1]
            size = {"x": 2, "u": 4, "U": 8}.get(kind, 0)
            if size:
                points.append(int(inside[place + 2 : place + 2 + size], 16))
            else:
                points.append(ord(_ESCAPED.get(kind, kind)))
            place += 2 + size
        elif letter == "-" and points and place + 1 < len(inside):
            points.append(-1)
            place += 1
        else:
            points.append(ord(letter))
            place += 1
    at = 0
    while at < len(points):
        if at + 2 < len(points) and points[at + 1] == -1:
            ranges.append((points[at], points[at + 2]))
            at += 3
        else:
            ranges.append((points[at], points[at]))
            at += 1
    return ranges, negated
