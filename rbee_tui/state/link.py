"""The link to the queen as the operator sees it: is what is on the screen true right now?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LinkState(StrEnum):
    """How the feed fares."""

    CONNECTING = "connecting"
    """Nothing was heard from the queen yet."""
    LIVE = "live"
    STALE = "stale"
    """The link broke; what is shown is as old as `since` says."""


@dataclass(frozen=True, slots=True)
class Link:
    """The state of the feed; times are our Unix seconds."""

    state: LinkState = LinkState.CONNECTING
    url: str = ""
    since: float = 0.0
    """When this state began."""
    retry_at: float | None = None
    attempts: int = 0
    """Failed attempts since the link broke."""
    problem: str | None = None
    """What the last attempt said."""
    resyncs: int = 0
    """Times the whole was read anew because our inbox overflowed."""

    @property
    def live(self) -> bool:
        """Whether what is shown is current."""
        return self.state is LinkState.LIVE
