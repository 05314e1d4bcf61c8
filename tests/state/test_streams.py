"""Streams are bounded, and what is lost is counted."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.contracts.events import TapChunk, TapStream
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_tui.state.streams import (
    MAX_CHARS,
    MAX_STREAMS,
    Stream,
    Streams,
    apply_chunks,
    settle,
)


def chunk(job: str, text: str | None, *, state: str = "running", dropped: int = 0) -> TapChunk:
    part = TapStream(job_id=job, model="m", tokens_out=1, text=text, state=state)
    return TapChunk(at=1.0, streams=[part], dropped=dropped)


@given(st.lists(st.text(max_size=9000), max_size=8), st.integers(0, 7))
def test_a_reader_gets_every_character_or_knows_how_many_it_lost(
    parts: list[str], read_after: int
) -> None:
    """`since` gives exactly what came behind the last look, or its tail and the number lost."""
    streams, seen, got = Streams(), 0, ""
    for at, part in enumerate(parts):
        streams = apply_chunks(streams, [chunk("j", part)], now=1.0)
        if at == read_after:
            seen = streams.by_job["j"].written
            got = ""
        else:
            got += part
    stream = streams.by_job.get("j")
    if stream is None:
        return
    text, lost = stream.since(seen)
    expected = "".join(parts)[seen:]

    assert len(expected) == lost + len(text)
    assert expected.endswith(text)
    assert len(stream.text) <= MAX_CHARS
    assert stream.dropped == stream.written - len(stream.text)


def test_streams_are_bounded_and_running_ones_stay() -> None:
    """Above the maximum the longest-ended go, and are counted."""
    chunks = [chunk(f"old{at}", "x", state="done") for at in range(5)]
    chunks += [chunk(f"run{at}", "x") for at in range(MAX_STREAMS - 2)]
    streams = apply_chunks(Streams(), chunks, now=1.0)

    assert len(streams.by_job) == MAX_STREAMS
    assert streams.evicted == 3
    assert all(f"run{at}" in streams.by_job for at in range(MAX_STREAMS - 2))


def test_what_the_queen_dropped_is_known() -> None:
    """The queen's count of dropped characters is kept."""
    streams = apply_chunks(Streams(), [chunk("j", "a", dropped=42)], now=1.0)

    assert streams.dropped == 42


def test_a_stream_whose_last_word_was_lost_ends_with_its_task() -> None:
    """The tap is lossy: the task's end ends the stream."""
    streams = apply_chunks(Streams(), [chunk("j", "a")], now=1.0)
    task = TaskInfo(job_id="j", state=TaskState.DONE, model="m", created_at=0.0)
    streams = settle(streams, MappingProxyType({"j": task}), now=5.0)

    assert streams.by_job["j"].state == "done"
    assert streams.by_job["j"].ended_at == 5.0


def test_text_that_may_not_be_read_is_said_to_be_so() -> None:
    """No text at all from a running stream means that our role may not read it."""
    streams = apply_chunks(Streams(), [chunk("j", None)], now=1.0)

    assert not streams.by_job["j"].readable


def test_running_streams_come_first_and_keep_their_order() -> None:
    """Focus order is: running by age, then ended by how lately."""
    streams = Streams(
        MappingProxyType(
            {
                "a": Stream("a", "m", state="done", ended_at=1.0),
                "b": Stream("b", "m"),
                "c": Stream("c", "m", state="done", ended_at=2.0),
                "d": Stream("d", "m"),
            }
        )
    )

    assert [s.job_id for s in streams.focus_order()] == ["b", "d", "c", "a"]
