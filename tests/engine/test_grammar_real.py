"""Grammars in a real engine: what they enforce, and what becomes of those that cannot work."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from rbee_agent.errors import RbeeError
from tests.engine_harness import Run

pytestmark = pytest.mark.model

Ask = Callable[..., Run]

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,9}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {
            "type": "array",
            "items": {"enum": ["red", "green", "blue"]},
            "uniqueItems": True,
            "maxItems": 2,
        },
        "born": {"type": "string", "format": "date"},
    },
    "required": ["name", "age", "tags", "born"],
    "additionalProperties": False,
}


def _shape(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_answer_is_valid_under_its_schema(ask: Ask, temperature: float) -> None:
    """Bounds, patterns, formats and different items all at once, hot or cold."""
    run = ask(
        prompt="Describe a person as JSON:",
        response_format=_shape(PERSON),
        sampling={"temperature": temperature, "seed": 5},
        max_tokens=150,
    )

    assert run.finished is not None
    assert run.finished.finish_reason == "stop"
    validator = jsonschema.Draft202012Validator
    validator(PERSON, format_checker=validator.FORMAT_CHECKER).validate(json.loads(run.text))


def test_a_grammar_that_leads_nowhere_cuts_the_answer_off(ask: Ask) -> None:
    """The engine lives on, and the end does not pretend to be whole."""
    run = ask(
        prompt="x",
        grammar='root ::= "a" dead\ndead ::= [^\\x00-\\U0010FFFF]',
        max_tokens=20,
    )

    assert run.finished is not None
    assert run.finished.finish_reason == "length"
    assert ask(prompt="x", max_tokens=2).finished is not None


def test_ids_that_the_grammar_would_not_have_made_are_refused(ask: Ask, engine: Any) -> None:
    """llama.cpp ends the whole process for such a token; the engine asks before."""
    wrong = engine.tokenize("zzz")
    with pytest.raises(RbeeError, match="grammar"):
        ask(prompt="x", grammar='root ::= "abc"', resume_token_ids=wrong, max_tokens=20)

    assert ask(prompt="x", max_tokens=2).finished is not None


@pytest.mark.parametrize("grammar", ["", " ", 'x ::= "a"', "root ::= missing", 'root ::= root "a"'])
def test_a_grammar_that_is_none_is_refused(ask: Ask, grammar: str) -> None:
    """Before any work, whatever is wrong with it."""
    with pytest.raises(RbeeError) as refused:
        ask(prompt="x", grammar=grammar, max_tokens=4)

    assert refused.value.code == "INVALID_PARAMS"


def test_tools_or_a_shape(ask: Ask) -> None:
    """With both and the choice left open the answer is a value of the shape, or a call."""
    tool = {"type": "function", "function": {"name": "look"}}
    run = ask(
        messages=[{"role": "user", "content": "Answer in JSON."}],
        response_format=_shape({"type": "object", "properties": {"ok": {"type": "boolean"}}}),
        tools=[tool],
        sampling={"temperature": 0.0},
        max_tokens=60,
    )

    if run.calls:
        assert [call["name"] for call in run.calls] == ["look"] * len(run.calls)
    else:
        assert json.loads(run.text).keys() <= {"ok"}
