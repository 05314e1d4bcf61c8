"""The two ends of one forwarded connection: bytes pass through, pressure comes back."""

from __future__ import annotations

import asyncio
from typing import cast

import asyncssh


class LocalEnd(asyncio.Protocol):
    """Our side's TCP connection; nothing is read before the far end stands."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._far: _FarEnd | None = None
        self._early = bytearray()
        self._ended = False
        self.said_all = False

    def far(self) -> _FarEnd:
        """Make the other end; what asyncssh calls when the channel opens."""
        self._far = _FarEnd(self)
        return self._far

    def ready(self) -> None:
        """The far end stands: hand over what came early, and read on."""
        if self._far is None:
            return
        if self._early:
            self._far.write(bytes(self._early))
            self._early.clear()
        if self.said_all:
            self._far.write_eof()
        if self._transport is None or self._transport.is_closing():
            self._far.close()
        else:
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Bytes from afar."""
        if self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Nothing more comes from afar."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self, paused: bool) -> None:
        """Let the far end's pressure reach whoever writes to us."""
        if self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """Hang up behind what is still to be written."""
        self._ended = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        if self._ended:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes for the host."""
        if self._far is not None and self._far.stands:
            self._far.write(data)
        else:
            # uvloop starts to read behind connection_made, whatever was paused in it.
            self._early += data
            self.pause(True)

    def eof_received(self) -> bool:
        """Our side says no more, but may still listen; open until the far end said all too."""
        self.said_all = True
        if self._far is None or not self._far.stands:
            return True
        self._far.write_eof()
        return not self._far.said_all

    def pause_writing(self) -> None:
        """Our side reads slowly."""
        if self._far is not None:
            self._far.pause(True)

    def resume_writing(self) -> None:
        """Our side caught up."""
        if self._far is not None:
            self._far.pause(False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        """Our side is gone."""
        self._transport = None
        self._ended = True
        if self._far is not None:
            self._far.close()


class _FarEnd(asyncssh.SSHTCPSession[bytes]):
    """The SSH channel's side."""

    def __init__(self, near: LocalEnd) -> None:
        self._near = near
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._started = False
        self.said_all = False

    @property
    def stands(self) -> bool:
        """Whether it can be written to."""
        return self._started and self._channel is not None

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._started = True
        self._near.ready()

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - signature
        self._near.write(data)

    def eof_received(self) -> bool:
        self.said_all = True
        self._near.write_eof()
        return not self._near.said_all

    def pause_writing(self) -> None:
        self._near.pause(True)

    def resume_writing(self) -> None:
        self._near.pause(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        if exc is None:
            self._near.close()
        else:
            self._near.abort()

    def write(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.write(data)

    def write_eof(self) -> None:
        if self._channel is not None:
            self._channel.write_eof()

    def pause(self, paused: bool) -> None:
        if self._channel is None:
            return
        if paused:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
