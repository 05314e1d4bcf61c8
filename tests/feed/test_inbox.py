"""The inbox is bounded; each kind of message has its policy."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.events import Change, FleetSnapshot, QueenInfo, TapChunk, TapStream
from rbee_agent.contracts.nodes import Telemetry
from rbee_tui.feed import inbox as inbox_module
from rbee_tui.feed.inbox import Inbox
from rbee_tui.state.events import Event


def change(seq: int) -> Event:
    return Event(Change(seq=seq, at=1.0, noun="worker", id="w", op="delete"), 1.0)


def tap(text: str | None, *, dropped: int = 0) -> Event:
    part = TapStream(job_id="j", model="m", tokens_out=1, text=text)
    return Event(TapChunk(at=1.0, streams=[part], dropped=dropped), 1.0)


def test_changes_keep_their_order_and_their_number() -> None:
    """Durable events come out as they went in, once."""
    inbox = Inbox()
    for seq in range(5):
        inbox.put(change(seq))
    batch = inbox.take()

    assert [e.payload.seq for e in batch.events] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert inbox.take().empty


def test_only_the_newest_telemetry_of_a_node_waits() -> None:
    """Telemetry replaces telemetry."""
    inbox = Inbox()
    for at in range(100):
        inbox.put(Event(Telemetry(node_id="n", at=float(at)), 1.0))

    assert inbox.telemetry_waits == 1
    assert [event.payload.at for event in inbox.take_telemetry()] == [99.0]
    assert not inbox.take_telemetry()


def test_waiting_text_is_joined() -> None:
    """Chunks of one stream become one, with all of the text."""
    inbox = Inbox()
    for text in ("a", None, "b", "c"):
        inbox.put(tap(text, dropped=3))
    (chunk,) = inbox.take().chunks

    assert chunk.streams[0].text == "abc"
    assert chunk.dropped == 3


def test_too_much_text_sheds_the_oldest_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the maximum the oldest text goes; nothing goes uncounted."""
    monkeypatch.setattr(inbox_module, "MAX_TEXT", 100)
    inbox = Inbox()
    for at in range(50):
        inbox.put(tap(f"{at:010}"))
    batch = inbox.take()
    text = batch.chunks[0].streams[0].text or ""

    assert len(text) <= 110
    assert len(text) + batch.text_dropped == 500
    assert text.endswith(f"{49:010}")


def test_too_many_changes_ask_for_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are not thinned out: an overflow lets all go and says so, a snapshot mends it."""
    monkeypatch.setattr(inbox_module, "MAX_EVENTS", 10)
    inbox = Inbox()
    for seq in range(12):
        inbox.put(change(seq))

    assert inbox.overflowed
    assert inbox.take().empty
    queen = QueenInfo(version="1", started_at=0.0, epoch="e")
    inbox.put(Event(FleetSnapshot(seq=1, at=1.0, queen=queen), 1.0))
    assert not inbox.overflowed
    assert len(inbox.take().events) == 1
