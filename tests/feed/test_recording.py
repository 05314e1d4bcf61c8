"""A recorded feed replays into the same view."""

from __future__ import annotations

import json

import pytest

from rbee_tui.feed.demo import NOW, demo_messages
from rbee_tui.feed.recording import read_recording, replay


def test_a_recording_replays_into_the_view_it_was_made_of() -> None:
    """Written as lines and read back, the feed gives an equal view."""
    messages = demo_messages()
    lines = [
        json.dumps({"event": m.event, "id": m.id, "data": json.loads(m.data)}) for m in messages
    ]

    assert replay(messages, now=NOW) == replay(read_recording(lines), now=NOW)


def test_ages_are_those_of_the_recording() -> None:
    """A host that fell silent before the end of the recording is old at its end."""
    view = replay(demo_messages(), now=NOW)

    assert view.fleet.age("atelier", NOW) == 1.0
    assert view.fleet.age("cellar", NOW) == 5.0


def test_a_line_that_is_no_event_is_named() -> None:
    """A broken recording says which line."""
    with pytest.raises(ValueError, match="line 2"):
        list(read_recording(['{"event": "tap", "data": {}}', '{"no": 1}']))
