"""A thought may stand before a shaped answer, and the shape begins behind it: for every family."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.plan import answer_grammar
from rbee_agent.engine.template import Prompt
from rbee_agent.engine.tools.families import STYLES
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.pieces import Text
from rbee_agent.engine.tools.styles import Style
from rbee_agent.grammar.offer import Offer
from tests.grammar.writer import RandomWriter

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}},
    "required": ["n"],
}


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_the_shape_begins_behind_the_thought(style: Style, begun: bool) -> None:
    """Whatever is thought, what is left as the answer is a value of the shape."""
    opened = style.thinking[0][1] if begun and style.thinking else None
    request = ExecuteRequest.model_validate(
        {"job_id": "j", "response_format": {"type": "json_schema", "json_schema": SCHEMA}}
    )
    grammar = answer_grammar(request, Offer(), Prompt("", style, opened, thinks=True))
    assert grammar is not None
    writer = RandomWriter(grammar, random.Random(4))
    thought = False
    for _ in range(40):
        text = writer.text("answer")
        parser = OutputParser(style, opened=opened, thinks=True, call_id=str)
        pieces = [*parser.push(text), *parser.finish()]
        answer = "".join(p.text for p in pieces if isinstance(p, Text) and p.channel is None)
        assert json.loads(answer) in ({"n": 1}, {"n": 2}), text
        thought |= any(isinstance(p, Text) and p.channel == "reasoning" for p in pieces)
    assert thought or not style.thoughts
