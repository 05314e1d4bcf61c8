"""Server-sent events, both directions, without I/O.

The format is that of the HTML standard, section 9.2 (event streams): fields ``event``, ``data``,
``id``, ``retry``; comment lines start with a colon; a blank line ends an event.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

PING = b": ping\n\n"
"""A comment that keeps proxies and clients awake."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream; `data` is usually JSON."""

    event: str = "message"
    data: str = ""
    id: str | None = None
    """None: this event carries no id of its own."""


def encode(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    """One event as bytes. Line breaks in `data` become several ``data:`` lines.

    Raises:
        ValueError: `event` or `id` holds a line break, which would forge another field.
    """
    head = ""
    for name, value in (("id", id), ("event", event)):
        if value is None:
            continue
        if "\n" in value or "\r" in value:
            raise ValueError(f"a line break in the {name} of an event")
        head += f"{name}: {value}\n"
    if "\n" in data or "\r" in data:
        lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        body = "".join(f"data: {line}\n" for line in lines)
    else:
        body = f"data: {data}\n"
    return f"{head}{body}\n".encode()


class SseDecoder:
    """Feeds on bytes as they come from a socket and gives back whole events.

    A multi-byte character or a line may be cut anywhere. An event larger than `max_bytes` is
    refused, so that a peer cannot fill our memory.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []
        self._size = 0
        self._max = max_bytes
        self.comments = 0
        """Comment lines seen: signs of life that carry nothing."""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes; return the events that they complete.

        Raises:
            ValueError: one event is larger than the limit.
        """
        text = self._rest + self._decoder.decode(chunk)
        if text.endswith("\r"):
            # The line feed of a CRLF may be still to come.
            text, held = text[:-1], "\r"
        else:
            held = ""
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._rest = rest + held
        self._size += len(chunk)
        events: list[ServerEvent] = []
        for line in lines:
            if line:
                self._field(line)
                continue
            if self._data:
                events.append(
                    ServerEvent(self._event or "message", "\n".join(self._data), self._id)
                )
            self._event, self._id, self._data = "", None, []
            self._size = len(self._rest)
        if self._size > self._max:
            raise ValueError(f"an event of more than {self._max} bytes")
        return events

    def _field(self, line: str) -> None:
        if line.startswith(":"):
            self.comments += 1
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
