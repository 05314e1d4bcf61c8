"""A bare upstream for benchmarks: the worker protocol from prepared bytes, as fast as can be.

Run as ``python _upstream.py PORT [SLOTS]``. The prompt says what to do: ``paced RATE COUNT`` or
``flood COUNT``. Each token's text is the monotonic clock in nanoseconds at its sending.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
HEALTH = {
    "status": "ready",
    "worker_id": "bench",
    "model": "bench",
    "fingerprint": "f",
    "slots": int(sys.argv[2]) if len(sys.argv) > 2 else 100000,
    "context": 100000,
}


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(place: int) -> bytes:
    """One token event, stamped now."""
    stamp = time.monotonic_ns()
    return (
        f'event: token\ndata: {{"type":"token","i":{place},"t":"{stamp} ","ids":[{place}]}}\n\n'
    ).encode()


def asked_of(body: dict) -> str:
    """The prompt, or the last message."""
    return str(body.get("prompt") or body["messages"][-1]["content"])


async def execute(writer: asyncio.StreamWriter, prompt: str) -> None:
    """Stream what the prompt asks for."""
    kind, *numbers = prompt.split()
    writer.write(HEAD)
    writer.write(
        chunk(b'event: accepted\ndata: {"type":"accepted","job_id":"b","tokens_in":1}\n\n')
    )
    if kind == "paced":
        rate, count = float(numbers[0]), int(numbers[1])
        start = time.monotonic()
        for place in range(count):
            wait = start + place / rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            writer.write(chunk(token(place)))
            await writer.drain()
    else:
        count = int(numbers[0])
        for first in range(0, count, 8):
            last = min(count, first + 8)
            writer.write(b"".join(chunk(token(place)) for place in range(first, last)))
            await writer.drain()
    end = f'event: end\ndata: {{"type":"end","tokens_in":1,"tokens_out":{count}}}\n\n'
    writer.write(chunk(end.encode()) + b"0\r\n\r\n")
    await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            low = head.lower()
            length = 0
            if b"content-length:" in low:
                length = int(low.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if head.startswith(b"POST /execute"):
                await execute(writer, asked_of(json.loads(body)))
                continue
            raw = json.dumps(HEALTH).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(raw), raw)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
