"""``bench admission``: durable tasks a second over HTTP, with a kill -9 in the middle.

Run: ``nice python tests/bench/admission.py [--seconds S] [--no-kill]``. The client speaks HTTP/1.1
by hand, so that the machine's cores go to the queen. At the end every task that got its 202 is
looked up: none may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from relay import HERE, cpu_s, free_port, start_queen


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
    home = Path(tempfile.mkdtemp(prefix="rbee-bench-"))
    upstream = free_port()
    children = [subprocess.Popen([sys.executable, str(HERE / "_upstream.py"), str(upstream), "1"])]
    try:
        time.sleep(0.5)
        queen, port = start_queen(home, upstream)
        children.append(queen)
        asyncio.run(occupy(port))
        used = cpu_s(queen.pid)
        accepted, took, elapsed = asyncio.run(
            load(port, args.connections, args.seconds, None if args.no_kill else queen)
        )
        if args.no_kill:
            used = cpu_s(queen.pid) - used
            print(f"queen's CPU per task: {used / len(accepted) * 1e6:.0f} us\n")
        else:
            elapsed = args.seconds * 0.7
        took.sort()
        p50, p99 = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
        queen.send_signal(signal.SIGKILL)
        queen.wait(10)
        database = next(home.rglob("queen.db"))
        kept = {row[0] for row in sqlite3.connect(database).execute("SELECT job_id FROM tasks")}
        lost = set(accepted) - kept
        print("| connections | accepted | a second | p50 | p99 | lost by kill -9 |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {args.connections} | {len(accepted)} | {len(accepted) / elapsed:.0f} | "
            f"{p50:.1f} ms | {p99:.1f} ms | {len(lost)} |"
        )
        sys.exit(1 if lost else 0)
    finally:
        for child in children:
            child.kill()
            child.wait(10)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
