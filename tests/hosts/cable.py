"""A bad cable between two network devices: frames come late, and some not at all.

It does in user space what the kernel's netem does, which many kernels are built without. Run as
``python cable.py DEVICE DEVICE DELAY_MS LOSS SEED``; it says ``ready`` and carries until killed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys

_EVERY_PROTOCOL = 3
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _VNET_HDR, _IGNORE_OUTGOING = 1, 15, 23
_PROMISCUOUS = 1
_LARGEST = 10 + 14 + 65536


def plug(device: str) -> socket.socket:
    """A socket that hears and says whole frames on a device, as the network card sees them."""
    plugged = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    plugged.setblocking(False)
    # With the header that tells of checksums and segments which are still to be made.
    plugged.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    plugged.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    plugged.bind((device, _EVERY_PROTOCOL))
    everything = struct.pack("iHH8s", socket.if_nametoindex(device), _PROMISCUOUS, 0, b"")
    plugged.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, everything)
    return plugged


async def carry(devices: tuple[str, str], delay: float, loss: float, seed: int) -> None:
    """Carry frames both ways until cancelled, each `delay` seconds late, a share of them lost."""
    loop = asyncio.get_running_loop()
    dice = random.Random(seed)
    ends = [plug(device) for device in devices]

    def hear(end: socket.socket, other: socket.socket) -> None:
        frame = end.recv(_LARGEST)
        if dice.random() >= loss:
            loop.call_later(delay, say, other, frame)

    def say(end: socket.socket, frame: bytes) -> None:
        try:
            end.send(frame)
        except (BlockingIOError, OSError):
            return  # a full or unplugged device loses frames, as a cable may

    for end, other in (ends, reversed(ends)):
        loop.add_reader(end, hear, end, other)
    print("ready", flush=True)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(
        carry(
            (sys.argv[1], sys.argv[2]),
            float(sys.argv[3]) / 1000,
            float(sys.argv[4]),
            int(sys.argv[5]),
        )
    )
