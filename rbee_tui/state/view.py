"""What a screen is a function of: fleet, streams, link and the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from rbee_tui.state.fleet import Fleet
from rbee_tui.state.link import Link
from rbee_tui.state.streams import Streams


@dataclass(frozen=True, slots=True)
class View:
    """One moment of everything the control center shows."""

    fleet: Fleet = field(default_factory=Fleet)
    streams: Streams = field(default_factory=Streams)
    link: Link = field(default_factory=Link)
    now: float = 0.0
    """Our Unix seconds."""

    zone: tzinfo | None = None
    """The operator's time zone; None is the machine's."""

    def clock(self, at: float) -> str:
        """A moment as the operator's wall clock shows it."""
        return datetime.fromtimestamp(at, UTC).astimezone(self.zone).strftime("%H:%M:%S")

    @property
    def queen_now(self) -> float:
        """The queen's clock, by the offset measured at the last snapshot."""
        return self.now + self.fleet.offset
