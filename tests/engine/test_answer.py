"""Channels, calls and stop strings together: a pure function of the tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from rbee_agent.client.frames import Answer as Gathered
from rbee_agent.engine.answer import Answer
from rbee_agent.engine.tools.calls import long_id
from rbee_agent.engine.tools.families import HERMES, LLAMA
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.pieces import Call, Piece, Text
from rbee_agent.wire import frames
from rbee_agent.wire.sse import ServerEvent

TOOLS: dict[str, dict[str, Any]] = {"look": {"type": "object"}}
CALL = '<tool_call>{"name": "look", "arguments": {"a": 1}}</tool_call>'


class Bytes:
    """A vocabulary of single bytes, with a few control tokens behind them."""

    CONTROLS = ("<|python_tag|>", "<|im_end|>")

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""

    def control(self, token: int) -> str:
        return self.CONTROLS[token - 256] if token >= 256 else ""

    def ends(self, token: int) -> bool:
        return False


def _answer(*, stop: Sequence[str] = (), style: Any = HERMES, one_call: bool = False) -> Answer:
    parser = OutputParser(
        style, tools=TOOLS, thinks=True, call_id=lambda index: long_id("job", index)
    )
    return Answer(Bytes(), stop=stop, parser=parser, one_call=one_call)


def _all(answer: Answer, tokens: Sequence[int]) -> list[Piece]:
    pieces = []
    for token in tokens:
        pieces += answer.push(token)
        if answer.stopped:
            return pieces
    return [*pieces, *answer.finish()]


def _text(pieces: Sequence[Piece], channel: str | None = None) -> str:
    return "".join(p.text for p in pieces if isinstance(p, Text) and p.channel == channel)


def test_stop_strings_are_looked_for_in_the_answer_alone() -> None:
    """Not in a thought, and not in arguments: those would be cut in the middle."""
    call = CALL.replace("1", '"END"')
    text = f"<think>one END two</think>before {call} then END after"
    answer = _answer(stop=["END"])
    pieces = _all(answer, text.encode())

    assert answer.stopped
    assert _text(pieces, "reasoning") == "one END two"
    assert _text(pieces).split() == ["before", "then"]
    assert "".join(p.arguments for p in pieces if isinstance(p, Call)) == '{"a": "END"}'


def test_one_call_is_enough_where_one_was_wanted() -> None:
    """With parallel calls off the answer ends with the first."""
    answer = _answer(one_call=True)
    pieces = _all(answer, (CALL + CALL).encode())

    assert (answer.stopped, answer.calls) == (True, 1)
    assert {piece.number for piece in pieces if isinstance(piece, Call)} == {0}


def test_control_tokens_are_seen_where_they_are_marks_only() -> None:
    """Llama's tag opens a call; a turn's end is shown nowhere."""
    body = b'{"name": "look", "parameters": {}}'
    pieces = _all(_answer(style=LLAMA), [*b"Well.", 257, 256, *body])

    assert _text(pieces) == "Well."
    assert [piece.name for piece in pieces if isinstance(piece, Call) and piece.name] == ["look"]


@pytest.mark.parametrize("stop", [[], ["zz", "</"]])
def test_where_nothing_is_held_the_rest_does_not_depend_on_what_was_shown(stop: list[str]) -> None:
    """Replayed to any clean cut, the answer goes on as it did: nothing lost, nothing twice."""
    tokens = f"<think>é🐝 <</think>\n\nHi < you. {CALL} x {CALL[:-9]}".encode()
    whole = _all(_answer(stop=stop), tokens)
    for cut in range(len(tokens)):
        before = _answer(stop=stop)
        shown = [piece for token in tokens[:cut] for piece in before.push(token)]
        if before.holding or before.stopped:
            continue
        again = _answer(stop=stop)
        for token in tokens[:cut]:
            again.push(token)
        assert before.finish() == [], "a frame that ended here would have lost it"
        rest = _all(again, tokens[cut:])
        for channel in (None, "reasoning"):
            assert _text(shown + rest, channel) == _text(whole, channel)
        said = [piece.arguments for piece in shown + rest if isinstance(piece, Call)]
        assert "".join(said) == '{"a": 1}' * 2


def test_what_the_same_tokens_made_is_one_frame_and_is_gathered() -> None:
    """Text, a thought and two calls in one frame: on the wire, merged, and read by the client."""
    parts = [
        frames.text_part("hm", "reasoning"),
        frames.text_part('so,"ids":[9]', None),
        frames.call_part(0, "c0", "look", "{}"),
        frames.call_part(1, "c1", "look", '{"a":'),
    ]
    event, data = frames.pieces_frame(7, parts, [1, 2, 3])

    assert (event, frames.ids_of(data), frames.index_of(data)) == ("tool_call", [1, 2, 3], 7)
    client = frames.without_ids(data)
    assert [part["i"] for part in json.loads(client)["batch"]] == [7] * 4
    answer = Gathered("job", "model")
    answer.take(ServerEvent(event, client))
    _, more = frames.pieces_frame(8, [frames.call_part(1, None, None, "2}")], [4])
    answer.take(ServerEvent("tool_call", frames.without_ids(more)))
    assert (answer.reasoning, answer.text) == ("hm", 'so,"ids":[9]')
    assert [call.arguments for call in answer.tool_calls] == ["{}", '{"a":2}']

    _, two = frames.pieces_frame(3, parts[:2], [1])
    one = frames.token_frame(4, "!", [2])
    merged = frames.batch([frames.without_ids(two), frames.without_ids(one)])
    assert [part["t"] for part in json.loads(merged)["batch"]] == ["hm", 'so,"ids":[9]', "!"]
