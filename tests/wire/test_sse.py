"""Server-sent events survive any way of being cut, and cannot be forged."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.wire.sse import PING, ServerEvent, SseDecoder, encode

_LINE = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"))
_DATA = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"))
_EVENT = st.builds(
    ServerEvent,
    event=_LINE.filter(lambda text: text not in ("",) and not text.startswith(" ")),
    data=_DATA,
    id=st.none() | _LINE.filter(lambda text: not text.startswith(" ")),
)


@given(events=st.lists(_EVENT, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_cutting_of_the_bytes_gives_the_same_events(
    events: list[ServerEvent], cuts: list[int]
) -> None:
    """Events come back whole wherever the network cut them, also inside a character."""
    stream = PING + b"".join(encode(e.data, event=e.event, id=e.id) for e in events)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    decoder = SseDecoder()

    got = [event for start, end in pairwise(places) for event in decoder.feed(stream[start:end])]

    assert got == events
    assert decoder.comments == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_all_line_ends_of_the_standard_are_read(newline: str) -> None:
    """LF, CRLF and CR end lines, byte by byte too."""
    stream = newline.join(["event: a", "data: 1", "data: 2", "", "data:3", "", ""]) + newline
    decoder = SseDecoder()

    got = [event for byte in stream.encode() for event in decoder.feed(bytes([byte]))]

    assert got == [ServerEvent("a", "1\n2"), ServerEvent("message", "3")]


def test_a_line_break_cannot_forge_a_field() -> None:
    """An id or event name with a line break is refused."""
    with pytest.raises(ValueError, match="line break"):
        encode("x", id="1\nevent: end")


def test_an_endless_event_is_refused() -> None:
    """A peer that never ends its event cannot fill the memory."""
    decoder = SseDecoder(max_bytes=1000)
    decoder.feed(b"data: " + b"x" * 900)

    with pytest.raises(ValueError, match="1000 bytes"):
        decoder.feed(b"x" * 100)


def test_many_events_larger_in_sum_than_the_limit_pass() -> None:
    """The limit is per event, not per stream."""
    decoder = SseDecoder(max_bytes=1000)

    got = [event for _ in range(100) for event in decoder.feed(encode("x" * 500))]

    assert len(got) == 100
