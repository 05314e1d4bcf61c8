"""From token bytes to text that may be shown: whole characters, never a part of a stop string.

A token is shown whole or not yet: text that is held back keeps its token's id with it. So every
frame ends where nothing is held, and a stream that goes on elsewhere begins at a clean place.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Bytes in, showable text out; a pure function of the tokens so far."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        """Watch for the strings of `stop`; none is ever shown, not even in part."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        """A stop string was found: nothing more will be shown."""
        self.stopped_by: str | None = None
        """Which one."""

    @property
    def holding(self) -> bool:
        """Whether something is held back, a part of a character or of a stop string."""
        return bool(self._held or self._decoder.getstate()[0])

    def push(self, piece: bytes) -> str:
        """Take the bytes of the next token; return what may be shown now, if anything."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(piece)
        found = [(at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            at, self.stopped_by = min(found)
            self.stopped, self._held = True, ""
            return text[:at]
        if self._decoder.getstate()[0] or any(_may_begin(text, stop) for stop in self._stop):
            self._held = text
            return ""
        self._held = ""
        return text

    def finish(self) -> str:
        """What was held back, at an end that no stop string made."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return text


def _may_begin(text: str, stop: str) -> bool:
    """Whether the end of `text` could be the beginning of `stop`."""
    return any(text.endswith(stop[:size]) for size in range(1, min(len(stop), len(text) + 1)))
