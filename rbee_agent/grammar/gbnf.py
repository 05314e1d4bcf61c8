"""Grammars as data, written out as GBNF without the parts that lead nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lit:
    """A text as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a class, which is written in GBNF's own way, brackets included."""

    gbnf: str


@dataclass(frozen=True, slots=True)
class Ref:
    """What another rule says."""

    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of several; of none: nothing can be written."""

    options: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Rep:
    """The same again and again; `most` None: for ever."""

    what: Expr
    least: int
    most: int | None


Expr = Lit | Chars | Ref | Seq | Alt | Rep

EMPTY = Seq(())
NEVER = Alt(())
MAX_REPEAT = 2000
"""llama.cpp refuses to repeat anything more often."""


def seq(*parts: Expr) -> Expr:
    """One after the other."""
    if any(part == NEVER for part in parts):
        return NEVER
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Seq) else (part,))]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def alt(*options: Expr) -> Expr:
    """One of several."""
    kept = tuple(dict.fromkeys(option for option in options if option != NEVER))
    return kept[0] if len(kept) == 1 else Alt(kept)


def rep(what: Expr, least: int, most: int | None) -> Expr:
    """`what` at least so often and at most so often."""
    if most == 0 or (what == NEVER and least == 0):
        return EMPTY
    if what == NEVER or (most is not None and most < least):
        return NEVER
    return what if (least, most) == (1, 1) else Rep(what, least, most)


def optional(what: Expr) -> Expr:
    """`what` or nothing."""
    return rep(what, 0, 1)


@dataclass(slots=True)
class Grammar:
    """Rules by name; `text` writes those that the root needs."""

    rules: dict[str, Expr] = field(default_factory=dict)

    def fresh(self, prefix: str) -> str:
        """A name that no rule has, kept for one that will be set."""
        name = f"{prefix}{len(self.rules)}"
        self.rules[name] = NEVER
        return name

    def writes(self, expr: Expr) -> bool:
        """Whether there is any text that `expr` stands for."""
        return _ends(expr, self._fruitful())

    def pruned(self) -> Grammar:
        """The same language without rules that can never end."""
        fruitful = self._fruitful()
        return Grammar(
            {name: _cut(rule, fruitful) for name, rule in self.rules.items() if name in fruitful}
        )

    def _fruitful(self) -> set[str]:
        fruitful: set[str] = set()
        while True:
            more = {
                name
                for name, rule in self.rules.items()
                if name not in fruitful and _ends(rule, fruitful)
            }
            if not more:
                return fruitful
            fruitful |= more

    def text(self, root: str) -> str:
        """GBNF whose rule ``root`` is the rule named `root`, for which there must be a text."""
        pruned = self.pruned().rules
        reached, open_ = {root: None}, [root]
        while open_:
            for name in _names(pruned[open_.pop()]):
                if name not in reached:
                    reached[name] = None
                    open_.append(name)
        lines = [f"root ::= {root}"] if root != "root" else []
        lines += [f"{name} ::= {_written(pruned[name], top=True)}" for name in reached]
        return "\n".join(lines)


def _ends(expr: Expr, fruitful: set[str]) -> bool:
    if isinstance(expr, Ref):
        return expr.name in fruitful
    if isinstance(expr, Seq):
        return all(_ends(part, fruitful) for part in expr.parts)
    if isinstance(expr, Alt):
        return any(_ends(option, fruitful) for option in expr.options)
    if isinstance(expr, Rep):
        return expr.least == 0 or _ends(expr.what, fruitful)
    return True


def _cut(expr: Expr, fruitful: set[str]) -> Expr:
    if isinstance(expr, Ref):
        return expr if expr.name in fruitful else NEVER
    if isinstance(expr, Seq):
        return seq(*(_cut(part, fruitful) for part in expr.parts))
    if isinstance(expr, Alt):
        return alt(*(_cut(option, fruitful) for option in expr.options))
    if isinstance(expr, Rep):
        return rep(_cut(expr.what, fruitful), expr.least, expr.most)
    return expr


def _names(expr: Expr) -> list[str]:
    if isinstance(expr, Ref):
        return [expr.name]
    if isinstance(expr, Seq):
        return [name for part in expr.parts for name in _names(part)]
    if isinstance(expr, Alt):
        return [name for option in expr.options for name in _names(option)]
    return _names(expr.what) if isinstance(expr, Rep) else []


def _written(expr: Expr, *, top: bool = False) -> str:
    if isinstance(expr, Lit):
        return quoted(expr.text)
    if isinstance(expr, Chars):
        return expr.gbnf
    if isinstance(expr, Ref):
        return expr.name
    if isinstance(expr, Seq):
        text = " ".join(_written(part) for part in expr.parts) or '""'
        return text if top or len(expr.parts) < 2 else f"({text})"
    if isinstance(expr, Alt):
        text = " | ".join(_written(option) for option in expr.options)
        return text if top else f"({text})"
    inner = _written(expr.what)
    return inner + _times(expr.least, expr.most)


def _times(least: int, most: int | None) -> str:
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return "?" if (least, most) == (0, 1) else f"{{{least},{most}}}"


def quoted(text: str) -> str:
    """A text as a GBNF literal."""
    out = "".join(_ESCAPES.get(letter) or _plain(letter) for letter in text)
    return f'"{out}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _plain(letter: str) -> str:
    return letter if letter.isprintable() else code(ord(letter))


def code(point: int) -> str:
    """A character by its number, as literals and classes write it."""
    if point < 0x100:
        return f"\\x{point:02X}"
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"
