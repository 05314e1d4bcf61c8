"""Frames made and cut as text are exactly what JSON says they are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.contracts.frames import TokenFrame, ToolCallFrame
from rbee_agent.wire import frames

_TEXT = st.text(alphabet=st.characters(blacklist_categories=["Cs"]))
_IDS = st.lists(st.integers(0, 300_000), min_size=1, max_size=9)


@given(index=st.integers(0, 10**6), text=_TEXT | st.just(',"ids":[1]}'), ids=_IDS)
def test_a_token_frame_is_the_contracts(index: int, text: str, ids: list[int]) -> None:
    """The hand-written JSON parses as the contract's frame, whatever the text holds."""
    data = frames.token_frame(index, text, ids)

    assert TokenFrame(i=index, t=text, ids=ids) == TokenFrame.model_validate_json(data)
    assert ids == frames.ids_of(data)
    assert index == frames.index_of(data)
    client = json.loads(frames.without_ids(data))
    assert {"type": "token", "i": index, "t": text} == client


@given(text=_TEXT, ids=_IDS)
def test_a_tool_call_frame_is_the_contracts(text: str, ids: list[int]) -> None:
    """Tool calls carry their ids the same way."""
    data = frames.tool_call_frame(
        7, ids, call=0, call_id="call-1", name="look", arguments_delta=text
    )

    parsed = ToolCallFrame.model_validate_json(data)
    assert (7, "look", text, ids) == (parsed.i, parsed.name, parsed.arguments_delta, parsed.ids)
    assert frames.index_of(data) == 7
    assert "ids" not in json.loads(frames.without_ids(data))


@given(texts=st.lists(_TEXT, min_size=2, max_size=6))
def test_a_batch_holds_every_frame(texts: list[str]) -> None:
    """Merging frames for a slow reader loses nothing and keeps the order."""
    made = [
        frames.without_ids(frames.token_frame(i, text, [i], channel="reasoning" if i % 2 else None))
        for i, text in enumerate(texts)
    ]

    merged = json.loads(frames.batch(made))

    assert merged["type"] == "token"
    assert texts == [part["t"] for part in merged["batch"]]
    assert list(range(len(texts))) == [part["i"] for part in merged["batch"]]


def test_logprobs_travel_before_the_ids() -> None:
    """Cutting the ids leaves the log-probabilities."""
    data = frames.token_frame(0, "a", [5], logprobs=[{"token": "a", "logprob": -0.1}])

    assert json.loads(frames.without_ids(data))["lp"] == [{"token": "a", "logprob": -0.1}]
