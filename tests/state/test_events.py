"""What comes from the feed is read, cleaned or refused."""

from __future__ import annotations

import json

import pytest

from rbee_agent.contracts.events import Narration, TapChunk
from rbee_tui.state.events import Unreadable, read_event

SAID = {"seq": 1, "at": 2.0, "actor": "queen", "text": "hello \x1b]0;gotcha\x07world\nagain"}


def test_text_is_cleaned_when_it_is_read() -> None:
    """An escape sequence in a narration does not reach the state, a newline becomes a space."""
    event = read_event("narration", json.dumps(SAID), received_at=7.0)

    assert event is not None
    assert isinstance(event.payload, Narration)
    assert event.payload.text == "hello world again"
    assert event.received_at == 7.0


def test_streams_keep_their_lines() -> None:
    """The tap's text keeps its newlines and loses its escapes."""
    data = {"at": 1.0, "streams": [
        {"job_id": "j", "model": "m", "tokens_out": 1, "text": "a\nb\x1b[2J"}]}  # fmt: skip
    event = read_event("tap", json.dumps(data), received_at=7.0)

    assert event is not None
    assert isinstance(event.payload, TapChunk)
    assert event.payload.streams[0].text == "a\nb"


def test_an_event_of_a_newer_queen_is_passed_over() -> None:
    """An unknown name is no error."""
    assert read_event("holiday", "{}", received_at=0.0) is None


@pytest.mark.parametrize("data", ["{", "[]", '{"seq": 1}', "[" * 5000])
def test_what_cannot_be_read_is_refused_without_quoting_it(data: str) -> None:
    """Broken JSON and missing fields raise Unreadable, whose text holds nothing of the message."""
    with pytest.raises(Unreadable) as caught:
        read_event("narration", data, received_at=0.0)

    assert "[[" not in str(caught.value)


def test_unknown_fields_are_ignored() -> None:
    """A newer queen may say more."""
    event = read_event("narration", json.dumps({**SAID, "mood": "sunny"}), received_at=0.0)

    assert event is not None
