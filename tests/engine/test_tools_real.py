"""Tool calls of a real model, made under a grammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rbee_agent.engine import Engine
from rbee_agent.errors import InvalidParams
from tests.engine_harness import Run

pytestmark = pytest.mark.model

Ask = Callable[..., Run]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "tell_time"}}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]


def _valid(arguments: str) -> None:
    said = json.loads(arguments)
    assert {"city", "unit"} <= said.keys() <= {"city", "unit", "days"}
    assert isinstance(said["city"], str)
    assert said["unit"] in ("C", "F")
    assert 1 <= said.get("days", 1) <= 9


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_parses_and_its_arguments_are_valid(ask: Ask, seed: int) -> None:
    """Whatever is sampled: an offered tool, and arguments that its schema allows."""
    run = ask(
        messages=QUESTION,
        tools=[WEATHER, CLOCK],
        tool_choice={"mode": "required", "parallel": False},
        sampling={"temperature": 1.0, "seed": seed},
        max_tokens=150,
    )

    assert run.finished is not None
    assert run.finished.finish_reason == "tool_calls"
    assert run.text == ""
    assert len(run.calls) == 1
    if run.calls[0]["name"] == "get_weather":
        _valid(run.calls[0]["arguments"])
    else:
        assert json.loads(run.calls[0]["arguments"]) == {}


def test_a_named_tool_is_the_one_that_is_called(ask: Ask) -> None:
    """Exactly one call, to the tool that was named."""
    run = ask(
        messages=QUESTION,
        tools=[CLOCK, WEATHER],
        tool_choice={"mode": "named", "name": "get_weather"},
        sampling={"temperature": 0.0},
        max_tokens=150,
    )

    assert [call["name"] for call in run.calls] == ["get_weather"]
    _valid(run.calls[0]["arguments"])


def test_a_stream_of_a_call_goes_on_behind_any_frame(ask: Ask) -> None:
    """Whoever takes over from the token ids adds what was missing, and nothing twice."""
    said: dict[str, Any] = {
        "messages": QUESTION,
        "tools": [WEATHER],
        "tool_choice": {"mode": "required"},
        "sampling": {"temperature": 0.0, "seed": 1},
        "strict": True,
        "max_tokens": 48,
    }
    whole = ask(**said)
    assert len(whole.calls) >= 1

    for cut in (1, 20, 45):
        rest = ask(**said, resume_token_ids=whole.ids[:cut])
        assert whole.ids == whole.ids[:cut] + rest.ids
        for before, after in zip(whole.calls[::-1], rest.calls[::-1], strict=False):
            assert before["arguments"].endswith(after["arguments"])
            assert after["name"] is None or before == after


BEGUN = '<tool_call>\n{"name": "get_weather", "arguments": {'


def _goes_on(
    ask: Ask, engine: Engine, *, strict: bool, seed: int, begun: str = BEGUN
) -> dict[str, Any]:
    """The arguments of a call that was begun; the model is hot, and eager to close things."""
    tool = {**WEATHER, "function": {**WEATHER["function"], "strict": strict}}
    eager = {str(engine.tokenize(text)[-1]): 6.0 for text in ('"', "}", "]", '"}', "]}", "}}")}
    # What breaks JSON most: a line that ends inside a text.
    eager |= {str(engine.tokenize("\n")[-1]): 9.0}
    run = ask(
        messages=QUESTION,
        tools=[tool],
        resume_token_ids=engine.tokenize(begun, parse_special=True),
        sampling={"temperature": 1.2, "seed": seed, "logit_bias": eager},
        max_tokens=100,
    )
    (call, *_) = run.calls
    arguments: dict[str, Any] = json.loads("{" + call["arguments"].removeprefix("{"))
    return arguments


@pytest.mark.parametrize("seed", range(4))
def test_a_call_that_the_model_began_is_json_to_its_end(
    ask: Ask, engine: Engine, seed: int
) -> None:
    """With `auto` too: hot as it is sampled, what comes of the arguments is a JSON object."""
    assert isinstance(_goes_on(ask, engine, strict=False, seed=seed), dict)


@pytest.mark.parametrize("begun", [BEGUN, BEGUN[:-1] + " {"])
def test_a_strict_tool_s_arguments_are_valid_with_auto(
    ask: Ask, engine: Engine, begun: str
) -> None:
    """`strict: true`: valid under its parameters, also where the model decides to call."""
    for seed in range(3):
        _valid(json.dumps(_goes_on(ask, engine, strict=True, seed=seed, begun=begun)))


def test_a_strict_tool_that_cannot_be_enforced_is_refused(ask: Ask) -> None:
    """By the keyword, as a call that must be made is; without `strict` it is offered."""
    function = {"name": "look", "parameters": {"type": "object", "$dynamicRef": "#a"}}
    ask(messages=QUESTION, tools=[{"type": "function", "function": function}], max_tokens=1)
    strict = {"type": "function", "function": {**function, "strict": True}}
    with pytest.raises(InvalidParams, match="dynamicRef"):
        ask(messages=QUESTION, tools=[strict], max_tokens=1)
