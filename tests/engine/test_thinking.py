"""A wish to think, or not to, reaches every kind of template, or is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from rbee_agent.contracts.tasks import ThinkingWish
from rbee_agent.engine.template import ChatTemplate
from rbee_agent.errors import InvalidParams

SWITCH = "{% if enable_thinking %}<think>{% endif %}"
MODE = "{% if thinking_mode == 'disabled' %}{% else %}<think>{% endif %}"
EFFORT = "Reasoning: {{ reasoning_effort or 'medium' }}{# <|channel|>analysis<|message|> #}"
BUDGET = "{% if thinking_budget == 0 %}none{% endif %}<think>"
ALWAYS = "<think>"
NEVER = "{{ messages[0].content }}"


def _told(source: str, given: dict[str, Any] | None = None, **wish: Any) -> dict[str, Any]:
    template = ChatTemplate(source, bos="", eos="")
    return template.told(ThinkingWish(**wish), given)


@pytest.mark.parametrize(
    ("source", "wish", "told"),
    [
        (SWITCH, {}, {}),
        (SWITCH, {"thinking": False}, {"enable_thinking": False}),
        (SWITCH, {"thinking": True}, {"enable_thinking": True}),
        (SWITCH, {"reasoning_effort": "none"}, {"enable_thinking": False}),
        (SWITCH, {"reasoning_effort": "minimal"}, {"enable_thinking": False}),
        (SWITCH, {"reasoning_effort": "high"}, {"enable_thinking": True}),
        (MODE, {"thinking": False}, {"thinking_mode": "disabled"}),
        (MODE, {"thinking": True}, {"thinking_mode": "enabled"}),
        (BUDGET, {"thinking": False}, {"thinking_budget": 0}),
        (BUDGET, {"thinking": True}, {}),
        (EFFORT, {"reasoning_effort": "medium"}, {"reasoning_effort": "medium"}),
        (EFFORT, {"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}),
        (EFFORT, {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}),
        (EFFORT, {"thinking": True}, {}),
        (EFFORT, {"thinking": False}, {}),
        (ALWAYS, {"thinking": True, "reasoning_effort": "low"}, {}),
        (ALWAYS, {"thinking": False}, {}),
        (NEVER, {"thinking": False}, {}),
        (NEVER, {"reasoning_effort": "none"}, {}),
        (NEVER, {"reasoning_effort": "minimal"}, {}),
    ],
)
def test_each_template_is_told_in_its_own_variables(
    source: str, wish: dict[str, Any], told: dict[str, Any]
) -> None:
    """Nothing is told that the template does not know."""
    assert told == _told(source, **wish)


@pytest.mark.parametrize(
    ("source", "wish", "field"),
    [
        (NEVER, {"thinking": True}, "thinking"),
        (NEVER, {"reasoning_effort": "low"}, "reasoning_effort"),
        (ALWAYS, {"reasoning_effort": "none"}, "reasoning_effort"),
        (EFFORT, {"reasoning_effort": "none"}, "reasoning_effort"),
    ],
)
def test_what_a_template_cannot_be_told_is_refused(
    source: str, wish: dict[str, Any], field: str
) -> None:
    """By the name of what was asked for."""
    with pytest.raises(InvalidParams) as refused:
        _told(source, **wish)

    assert refused.value.errors[0]["field"] == field


def test_variables_by_their_own_names() -> None:
    """They go before wishes; unknown ones are refused, switches apart, which all callers send."""
    assert _told(SWITCH, {"enable_thinking": False}, thinking=True) == {"enable_thinking": False}
    assert _told(NEVER, {"enable_thinking": False}) == {}
    assert _told(MODE, {"enable_thinking": False}) == {"thinking_mode": "disabled"}
    with pytest.raises(InvalidParams, match="'colour'"):
        _told(SWITCH, {"colour": "red"})
    with pytest.raises(InvalidParams, match="does not think"):
        _told(NEVER, {"enable_thinking": True})
