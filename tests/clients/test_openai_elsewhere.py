"""Fields of other servers, sent through the official `openai` package: shapes, and thinking."""

from __future__ import annotations

import json
import re

import openai as package
import pytest

from rbee_agent.testing.live_fleet import MODEL

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "Name three colours."}]


async def test_the_shapes_of_vllm(openai):
    """A choice, a pattern and a schema by its names: what comes has the shape."""
    asked = {"model": MODEL, "messages": ASK, "max_tokens": 32, "temperature": 1.0, "seed": 5}

    async def shaped(**more) -> str:
        found = await openai.chat.completions.create(**asked, extra_body=more)
        assert found.choices[0].finish_reason == "stop"
        return found.choices[0].message.content

    assert await shaped(guided_choice=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch("[ab]{3}-[0-9]", await shaped(guided_regex="[ab]{3}-[0-9]"))
    schema = {"enum": ["red", 7]}
    assert json.loads(await shaped(structured_outputs={"json": schema})) in ("red", 7)


async def test_thinking_of_a_model_that_does_not(openai):
    """Refused by name where it is asked for; turned off it is an answer as any."""
    asked = {"model": MODEL, "messages": ASK, "max_tokens": 4}
    with pytest.raises(package.BadRequestError, match="does not think") as caught:
        await openai.chat.completions.create(**asked, reasoning_effort="high")
    assert caught.value.param == "reasoning_effort"
    with pytest.raises(package.BadRequestError, match="colour"):
        await openai.chat.completions.create(
            **asked, extra_body={"chat_template_kwargs": {"colour": 1}}
        )
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert await openai.chat.completions.create(**asked, reasoning_effort="none", extra_body=off)
    response = await openai.responses.create(
        model=MODEL, input="hello", reasoning={"effort": "minimal"}, max_output_tokens=4
    )
    assert response.output_text
