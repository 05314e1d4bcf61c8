"""``bench admission``: durable tasks a second over HTTP, with a kill -9 in the middle.

Run: ``nice python -m tests.bench.admission [--seconds S] [--no-kill]``. The client speaks HTTP/1.1
by hand, so that the machine's cores go to the queen. At the end every task that got its 202 is
looked up: none may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time

from tests.bench._queen import cpu_s, running


async def hand_in(
    port: int, name: str, until: float, accepted: list[str], took: list[float]
) -> None:
    """One connection that POSTs tasks one behind the other."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = 0
        while time.monotonic() < until:
            number += 1
            task_id = f"{name}-{number}"
            body = json.dumps(
                {
                    "model": "bench",
                    "prompt": "x",
                    "max_tokens": 16,
                    "task_id": task_id,
                }
            ).encode()
            began = time.monotonic()
            writer.write(
                b"POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            raw = await reader.readexactly(length)
            if b" 202 " not in head[:20]:
                raise SystemExit(f"refused: {raw.decode()}")
            accepted.append(task_id)
            took.append(time.monotonic() - began)
    except (ConnectionError, asyncio.IncompleteReadError):
        return


async def occupy(port: int) -> None:
    """Let the only slot be busy, so that all others wait."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "bench", "prompt": "paced 1 100000", "detach": True}).encode()
    writer.write(
        b"POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def load(port: int, connections: int, seconds: float, kill: subprocess.Popen[bytes] | None):
    accepted: list[str] = []
    took: list[float] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for place in range(connections):
            group.create_task(hand_in(port, f"a{place}", began + seconds, accepted, took))
        if kill is not None:
            await asyncio.sleep(seconds * 0.7)
            kill.send_signal(signal.SIGKILL)
    return accepted, took, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--no-kill", action="store_true")
    args = parser.parse_args()
    with running(slots=1) as made:
        asyncio.run(occupy(made.port))
        used = cpu_s(made.queen.pid)
        accepted, took, elapsed = asyncio.run(
            load(made.port, args.connections, args.seconds, None if args.no_kill else made.queen)
        )
        if args.no_kill:
            used = cpu_s(made.queen.pid) - used
            print(f"queen's CPU per task: {used / len(accepted) * 1e6:.0f} us\n")
        else:
            elapsed = args.seconds * 0.7
        took.sort()
        p50, p99 = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
        made.queen.send_signal(signal.SIGKILL)
        made.queen.wait(10)
        database = next(made.home.rglob("queen.db"))
        kept = {row[0] for row in sqlite3.connect(database).execute("SELECT job_id FROM tasks")}
        lost = set(accepted) - kept
        print("| connections | accepted | a second | p50 | p99 | lost by kill -9 |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {args.connections} | {len(accepted)} | {len(accepted) / elapsed:.0f} | "
            f"{p50:.1f} ms | {p99:.1f} ms | {len(lost)} |"
        )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
