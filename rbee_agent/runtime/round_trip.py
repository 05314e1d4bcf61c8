"""How far away the other end of a TCP connection is, as the system measures it anyway."""

from __future__ import annotations

import socket
import sys

_TCPI_RTT = 68
"""Where `struct tcp_info` has the round trip in µs: behind 8 bytes and 15 numbers of 4."""


def round_trip(plug: socket.socket | None) -> float:
    """Linux's smoothed round trip of a connection, in seconds; 0 where it is not told."""
    if plug is None or not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        told = plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_RTT + 4)
    except (OSError, TypeError, ValueError):
        # uvloop's sockets are made anew of a number that a closed connection does not have.
        return 0.0
    return int.from_bytes(told[_TCPI_RTT:], sys.byteorder) / 1e6
