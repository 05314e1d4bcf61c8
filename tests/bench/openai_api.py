"""``bench openai_api``: what speaking OpenAI's API costs a token more than /v2.

Run: ``python -m tests.bench.openai_api [--tokens N] [--rounds N]``. The same queen relays saturated
streams (an upstream that never waits) on /v2 and on /v1, in turn; the CPU is the queen's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics

from tests.bench._queen import cpu_s, running
from tests.bench.relay import request, through_queen


async def v2(port: int, count: int) -> int:
    """Tokens of one saturated stream on /v2."""
    return (await through_queen(port, f"flood {count}", False)).tokens


async def v1(port: int, count: int) -> int:
    """Tokens of one saturated stream on /v1."""
    said = {"role": "user", "content": f"flood {count}"}
    body = json.dumps({"model": "bench", "messages": [said], "stream": True})
    reader, writer = await request(port, "POST /v1/chat/completions", body.encode())
    tokens, rest = 0, b""
    while data := await reader.read(262144):
        whole, _, rest = (rest + data).rpartition(b"\n\n")
        # The role comes with an empty content.
        tokens += whole.count(b'"content":"') - whole.count(b'"content":""')
    writer.close()
    return tokens


async def measure(port: int, pid: int, count: int, streams: int, rounds: int) -> None:
    """Print one row: the median CPU per token on each API, taken in turn."""
    found: dict[str, list[float]] = {"v2": [], "v1": []}
    for _ in range(rounds):
        for name, call in (("v2", v2), ("v1", v1)):
            before = cpu_s(pid)
            runs = [call(port, count // streams) for _ in range(streams)]
            tokens = sum(await asyncio.gather(*runs))
            assert tokens == count // streams * streams, (name, tokens)
            found[name].append((cpu_s(pid) - before) / tokens * 1e6)
    two, one = (statistics.median(found[name]) for name in ("v2", "v1"))
    print(f"| {streams} | {two:.1f} | {one:.1f} | {one / two:.2f} |", flush=True)


def main() -> None:
    """Start an upstream and a queen, measure, end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with running() as made:
        print("| streams | /v2, us of CPU a token | /v1, us of CPU a token | ratio |")
        print("|---:|---:|---:|---:|")
        for streams in (1, 16):
            asyncio.run(measure(made.port, made.queen.pid, args.tokens, streams, args.rounds))


if __name__ == "__main__":
    main()
