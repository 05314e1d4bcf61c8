"""Every status as a symbol, a word and a tone: colour is never alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rbee_tui.widgets.tones import Piece


@dataclass(frozen=True, slots=True)
class Status:
    """How one state is drawn."""

    symbol: str
    word: str
    tone: str

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Symbol and word."""
        return ((f"{self.symbol} {self.word}", self.tone),)


NODE: Final = {
    "registering": Status("◌", "joining", "busy"),
    "online": Status("●", "online", "ok"),
    "suspect": Status("◐", "suspect", "warn"),
    "offline": Status("✖", "offline", "bad"),
    "draining": Status("◒", "draining", "warn"),
}
WORKER: Final = {
    "starting": Status("◌", "starting", "busy"),
    "loading": Status("◔", "loading", "busy"),
    "ready": Status("●", "ready", "ok"),
    "draining": Status("◒", "draining", "warn"),
    "stopping": Status("◌", "stopping", "muted"),
    "backoff": Status("↻", "restarts", "warn"),
    "crash-looping": Status("✖", "crashing", "bad"),
    "failed": Status("✖", "failed", "bad"),
    "stopped": Status("○", "stopped", "muted"),
}
TASK: Final = {
    "queued": Status("◌", "queued", "busy"),
    "running": Status("▶", "running", "ok"),
    "done": Status("✔", "done", "muted"),
    "failed": Status("✖", "failed", "bad"),
    "cancelled": Status("⊘", "cancelled", "warn"),
}
LEVEL: Final = {
    "info": Status("·", "", "muted"),
    "warning": Status("▲", "", "warn"),
    "error": Status("✖", "", "bad"),
}


def status(table: dict[str, Status], name: str) -> Status:
    """The status of that name; one of a newer peer is shown as it calls itself."""
    return table.get(name) or Status("?", name, "muted")


FRESH_S: Final = 3.0
"""An age up to this is as good as now: telemetry comes each second."""
OLD_S: Final = 10.0


def age_tone(seconds: float | None) -> str:
    """Fresh is quiet, older is amber, old is grey and marked by its number."""
    if seconds is None:
        return "muted"
    return "" if seconds <= FRESH_S else "warn" if seconds <= OLD_S else "bad"
