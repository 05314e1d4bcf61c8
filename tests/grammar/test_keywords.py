"""Bounds, patterns and names, each against an independent judge."""

from __future__ import annotations

import json
import random
import re
from fractions import Fraction
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.grammar import Grammar, compile_schema
from rbee_agent.grammar.gbnf import EMPTY, Alt, Seq
from rbee_agent.grammar.numbers import Bounds, decimals, integers
from rbee_agent.grammar.patterns import pattern
from tests.grammar.writer import RandomWriter

_ENDS = st.none() | st.integers(-1200, 1200)


def _bounds(low: Any, high: Any, low_open: bool, high_open: bool) -> Bounds:
    return Bounds(
        None if low is None else Fraction(low),
        low_open,
        None if high is None else Fraction(high),
        high_open,
    )


@given(_ENDS, _ENDS, st.booleans(), st.booleans(), st.integers(1, 12), st.integers(-1300, 1300))
def test_integers_between_bounds(
    low: Any, high: Any, low_open: bool, high_open: bool, multiple: int, value: int
) -> None:
    """An integer is written exactly where it lies between the bounds and is a multiple."""
    bounds = _bounds(low, high, low_open, high_open)
    if bounds.empty:
        return
    expected = bounds.holds(Fraction(value)) and value % multiple == 0

    assert integers(bounds, multiple).accepts(str(value)) == expected


@given(
    st.none() | st.decimals(-20, 20, places=2),
    st.none() | st.decimals(-20, 20, places=2),
    st.booleans(),
    st.booleans(),
    st.decimals(-21, 21, places=3),
)
def test_decimals_between_bounds(
    low: Any, high: Any, low_open: bool, high_open: bool, value: Any
) -> None:
    """So is a number with places."""
    bounds = _bounds(low, high, low_open, high_open)
    if bounds.empty or (value == 0 and str(value).startswith("-")):
        return

    assert decimals(bounds).accepts(str(value)) == bounds.holds(Fraction(value))


@pytest.mark.parametrize(
    "source",
    ["^a+b?$", "b", "^(ab|c){2,3}$", "^[^ab]*$", "a.c", r"^\w+@\d{2,}$", r"\.$", "^$", "(^a|c$)",
     r"^[a-c\-]{1,4}$", "^a|b$", r"\s", "^(?:a(?<n>b)?)*?$", "^[]a]", "x{0}y"],
)  # fmt: skip
@given(data=st.data())
def test_patterns_are_what_python_finds(source: str, data: st.DataObject) -> None:
    """Over plain letters the automaton finds what Python's engine finds."""
    try:
        found = re.compile(source.replace("(?<", "(?P<"))
    except re.error:
        return
    text = data.draw(st.text(alphabet="abcxy@1 .-]", max_size=8))
    if source == "^[]a]":
        return  # ECMA-262 reads an empty class here.

    assert pattern(source).accepts(text) == (found.search(text) is not None)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "properties": {"id": {"type": "integer"}},
            "patternProperties": {"^[a-m]": {"type": "integer"}, "z$": {"type": "null"}},
            "additionalProperties": {"type": "boolean"},
            "minProperties": 1,
        },
        {"propertyNames": {"pattern": "^[a-c]{1,3}$"}, "additionalProperties": {"type": "null"}},
        {"properties": {"a": {"const": 1}, "b": True}, "required": ["c"], "maxProperties": 2},
        {"type": "string", "not": {"enum": ["a", "b"]}, "pattern": "^[ab]{1,2}$"},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}],
         "properties": {"a": True, "b": True}, "type": "object"},
        {"if": {"properties": {"kind": {"const": "x"}}, "required": ["kind"]},
         "then": {"required": ["x"]}, "else": {"required": ["y"]},
         "properties": {"kind": {"enum": ["x", "z"]}, "x": {"type": "null"},
                        "y": {"type": "null"}}},
        {"$defs": {"tree": {"type": "object", "required": ["v"], "properties": {
            "v": {"type": "integer"},
            "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}}},
         "$ref": "#/$defs/tree"},
        {"enum": ["ü", {"a": [1, 2.5, None]}, 3, True]},
        {"type": "array", "prefixItems": [{"const": 1}], "items": {"enum": [2, 3]},
         "contains": {"const": 3}, "minContains": 2, "maxItems": 5},
    ],
)  # fmt: skip
def test_whatever_is_written_is_valid(schema: dict[str, Any]) -> None:
    """Many random texts of schemas in which keywords meet."""
    grammar = Grammar()
    grammar.rules["answer"] = compile_schema(schema, grammar, field="f", prefix="s")
    writer = RandomWriter(grammar, random.Random(5))
    validator = jsonschema.Draft202012Validator(schema)
    texts = {writer.text("answer") for _ in range(400)}

    for text in texts:
        validator.validate(json.loads(text))
    assert len(texts) > 3


def test_a_letter_of_a_pattern_has_few_beginnings() -> None:
    """llama.cpp tries the whole vocabulary against each: escapes and ranges are put together."""
    grammar = Grammar()
    grammar.rules["answer"] = compile_schema(
        {"type": "string", "pattern": "\\wcole"}, grammar, field="f", prefix="s"
    )
    states = [
        rule
        for rule in grammar.rules.values()
        if isinstance(rule, Alt)
        and EMPTY not in rule.options
        and all(isinstance(option, Seq) for option in rule.options)
    ]
    assert len(states) == len("wcole")
    for rule in states:
        # One class and one escape for each of the states that may follow.
        followers = {option.parts[-1] for option in rule.options if isinstance(option, Seq)}
        assert len(rule.options) == len(followers) <= 4
