"""Tool calls of a real model, made under a grammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

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
