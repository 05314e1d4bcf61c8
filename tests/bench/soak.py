"""``bench soak``: many tasks with real frames through one queen; her memory must stay flat.

Run: ``nice python -m tests.bench.soak [--tasks N]``. Prints the resident size at each tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import psutil

from tests.bench._queen import running
from tests.bench.relay import through_queen


async def run(port: int, pid: int, tasks: int, at_once: int) -> None:
    left = iter(range(tasks))
    done = 0

    async def one_after_the_other() -> None:
        nonlocal done
        for _ in left:
            seen = await through_queen(port, "flood 20", False)
            assert seen.tokens == 20, seen.tokens
            done += 1
            if done % (tasks // 10) == 0:
                rss = psutil.Process(pid).memory_info().rss / 2**20
                print(f"{done} tasks: {rss:.1f} MiB", flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=16)
    args = parser.parse_args()
    with running() as made:
        began = time.monotonic()
        asyncio.run(run(made.port, made.queen.pid, args.tasks, args.at_once))
        print(f"{args.tasks / (time.monotonic() - began):.0f} tasks a second")


if __name__ == "__main__":
    main()
