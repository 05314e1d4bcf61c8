"""Outputs in the styles of the model families are read alike, however they were cut into tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.engine.tools.calls import long_id
from rbee_agent.engine.tools.constrain import add_calls
from rbee_agent.engine.tools.families import STYLES
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.pieces import Call, Piece
from rbee_agent.engine.tools.styles import Style
from rbee_agent.grammar import Grammar
from rbee_agent.grammar.offer import Tool
from tests.grammar.writer import RandomWriter

TOOLS: dict[str, dict[str, Any]] = {
    "get_weather": {"type": "object", "properties": {"city": {"type": "string"}}},
    "search": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    },
    "get_time": {"type": "object", "properties": {}, "additionalProperties": False},
    "python": {"type": "object", "properties": {"code": {"type": "string"}}},
}
_BY_NAME = {style.name: style for style in STYLES}
_FOLDER = Path(__file__).parent / "tool_outputs"
CASES = [
    pytest.param(_BY_NAME[path.stem], case, id=f"{path.stem}: {case['name']}")
    for path in sorted(_FOLDER.glob("*.json"))
    for case in json.loads(path.read_text())
]


def _parser(style: Style, case: dict[str, Any]) -> OutputParser:
    return OutputParser(
        style,
        tools=TOOLS,
        opened=case.get("opened"),
        thinks=True,
        call_id=lambda index: long_id("job", index),
    )


def _read(style: Style, case: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    parser = _parser(style, case)
    pieces: list[Piece] = []
    for part in parts:
        pieces += parser.push(part)
    pieces += parser.finish()
    found: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for piece in pieces:
        if not isinstance(piece, Call):
            found[piece.channel or "content"] += piece.text
            continue
        if piece.name is not None:
            assert piece.number == len(found["calls"])
            assert piece.id == long_id("job", piece.number)
            found["calls"].append({"name": piece.name, "arguments": ""})
        found["calls"][piece.number]["arguments"] += piece.arguments
    assert parser.calls == len(found["calls"])
    return found


@pytest.mark.parametrize(("style", "case"), CASES)
def test_every_cut_gives_the_same(style: Style, case: dict[str, Any]) -> None:
    """Whole, letter by letter, cut in two anywhere, cut at random: one meaning, the expected."""
    text: str = case["text"]
    found = _read(style, case, [text])

    meant = [{**call, "arguments": json.loads(call["arguments"])} for call in found["calls"]]
    assert case["calls"] == meant
    assert case["content"] == found["content"]
    assert case["reasoning"] == found["reasoning"]
    assert found == _read(style, case, list(text))
    for cut in range(1, len(text)):
        assert found == _read(style, case, [text[:cut], text[cut:]]), text[:cut]
    chance = random.Random(text)
    for _ in range(20):
        cuts = sorted(chance.choices(range(len(text) + 1), k=9))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert found == _read(style, case, parts)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_what_the_grammar_writes_the_parser_reads(style: Style) -> None:
    """For every family: calls under its grammar are the calls that come out, in order."""
    tools = [Tool(name, parameters) for name, parameters in TOOLS.items()]
    grammar = Grammar()
    add_calls(grammar, style, tools, several=True)
    writer = RandomWriter(grammar, random.Random(3))
    for _ in range(30):
        text = writer.text("calls")
        found = _read(style, {}, [text])
        assert found["content"] == ""
        assert found["calls"], text
        for call in found["calls"]:
            arguments = json.loads(call["arguments"])
            assert isinstance(arguments, dict)
            assert arguments.keys() <= TOOLS[call["name"]]["properties"].keys()


def test_without_tools_marks_are_text() -> None:
    """Who offers no tools gets what the model wrote, thoughts apart."""
    parser = OutputParser(_BY_NAME["hermes"], call_id=lambda index: long_id("job", index))

    text = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call> '
    pieces = [*parser.push(text), *parser.finish()]
    assert text == "".join(piece.text for piece in pieces if not isinstance(piece, Call))


def test_a_call_without_its_end() -> None:
    """Whole arguments make a whole call; a broken one is shown, and a later one is read."""
    endless = '<tool_call>{"name": "search", "arguments": {"query": "a"}'
    assert _read(_BY_NAME["hermes"], {}, [endless])["calls"][0]["arguments"] == '{"query": "a"}'

    broken = '<tool_call>{"name": "search", "arguments": ?}</tool_call>'
    later = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
    found = _read(_BY_NAME["hermes"], {}, [broken + later])
    assert [call["name"] for call in found["calls"]] == ["search", "get_time"]


def test_text_between_tags_is_shown_while_it_is_written() -> None:
    """A file that a model writes into an argument does not come at the end alone."""
    parser = _parser(_BY_NAME["qwen-coder"], {})
    begun = "<tool_call>\n<function=python>\n<parameter=code>\nimport"
    shown = "".join(piece.arguments for piece in parser.push(begun) if isinstance(piece, Call))
    assert shown == '{"code": "import'


@pytest.mark.parametrize(
    ("schema", "written", "meant"),
    [
        ({"type": "integer"}, "7", 7),
        ({"type": "number"}, "7", 7),
        ({"type": "boolean"}, "True", True),
        ({"type": "object"}, "{'a': None}", {"a": None}),
        ({"type": ["string", "null"]}, "42", "42"),
        ({"type": ["string", "null"]}, "null", None),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "[1]", [1]),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "1", "1"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"type": "integer"}, "seven", "seven"),
        ({}, "True", "True"),
        ({}, "[1]", [1]),
    ],
    ids=str,
)
def test_bare_text_has_the_type_that_its_parameter_wants(
    schema: dict[str, Any], written: str, meant: Any
) -> None:
    """JSON of a type that is allowed, Python's words where models fall into them, else text."""
    parser = OutputParser(
        _BY_NAME["qwen-coder"],
        tools={"set": {"type": "object", "properties": {"it": schema}}},
        call_id=str,
    )
    text = f"<tool_call><function=set><parameter=it>{written}</parameter></function></tool_call>"
    pieces = [*parser.push(text), *parser.finish()]
    said = "".join(piece.arguments for piece in pieces if isinstance(piece, Call))
    assert json.loads(said) == {"it": meant}
