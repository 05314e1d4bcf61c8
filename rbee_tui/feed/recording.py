"""Recorded feeds: one JSON object a line, ``{"event", "id"?, "data"}``, as the queen sent them.

A recording replayed into the state gives any screen: the demo, the pictures of the docs, bug
reports and snapshot tests are one mechanism.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import tzinfo

from rbee_agent.contracts.events import TapChunk
from rbee_agent.wire.sse import ServerEvent
from rbee_tui.state.events import read_event
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.link import Link, LinkState
from rbee_tui.state.reducer import reduce_all
from rbee_tui.state.streams import Streams, apply_chunks, settle
from rbee_tui.state.view import View


def read_recording(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The messages of a recording.

    Raises:
        ValueError: a line is no JSON object with an event and its data.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = json.loads(line)
        if not isinstance(record, dict) or "event" not in record or "data" not in record:
            raise ValueError(f"line {number} of the recording is no event")
        yield ServerEvent(record["event"], json.dumps(record["data"]), record.get("id"))


def replay(
    messages: Iterable[ServerEvent], *, now: float, url: str = "", zone: tzinfo | None = None
) -> View:
    """The view after a recorded feed, as if its last event had come at `now`.

    Raises:
        rbee_tui.state.events.Unreadable: a message is not what its name says.
    """
    read = (read_event(m.event, m.data, received_at=now) for m in messages)
    events = [event for event in read if event is not None]
    last = max((event.payload.at for event in events), default=now)
    fleet, streams = Fleet(), Streams()
    for event in events:
        if isinstance(event.payload, TapChunk):
            streams = apply_chunks(streams, (event.payload,), now=now)
        else:
            came = replace(event, received_at=now - (last - event.payload.at))
            fleet = reduce_all(fleet, (came,))
    link = Link(LinkState.LIVE, url=url, since=now)
    return replace(View(fleet, settle(streams, fleet.tasks, now=now), link, now), zone=zone)
