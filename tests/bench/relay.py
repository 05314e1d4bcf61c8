"""``bench relay``: what the queen costs a token, beside a direct connection and nginx.

Run: ``nice python -m tests.bench.relay [--seconds S] [--json]``. Starts its own upstream, queen and
(where installed) nginx, each a process of its own, and takes all times from one monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench._queen import cpu_s, free_port, running

FIRST_TOKENS = 200
"""Answers whose first token is waited for, each way."""


@dataclass
class Reading:
    """What one reader saw."""

    began: float = 0.0
    first_s: float = 0.0
    lags: list[tuple[int, float]] = field(default_factory=list)
    """Of each token: when it was made (monotonic nanoseconds), milliseconds to its reader."""
    tokens: int = 0
    events: int = 0

    def sample(self, now: int, parts: list[bytes]) -> None:
        """Note the tokens of one read; each part begins with the time of its making."""
        for part in parts:
            made = int(part[: part.index(b" ")])
            self.lags.append((made, (now - made) / 1e6))


async def request(
    port: int, text: str, body: bytes = b"", accept: str = "*/*"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    head = f"{text} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Accept: {accept}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()
    return reader, writer


async def read_stream(reader: asyncio.StreamReader, began: float, sample: bool) -> Reading:
    """Read SSE to the end; every ``"t":"NANOSECONDS "`` is a token."""
    seen = Reading(began)
    rest = b""
    while True:
        data = await reader.read(262144)
        now = time.monotonic_ns()
        if not data:
            return seen
        data = rest + data
        cut = data.rfind(b"\n\n")
        if cut < 0:
            rest = data
            continue
        whole, rest = data[: cut + 2], data[cut + 2 :]
        parts = whole.split(b'"t":"')
        if len(parts) > 1 and not seen.tokens:
            seen.first_s = time.monotonic() - began
        seen.tokens += len(parts) - 1
        seen.events += whole.count(b"event: token")
        if sample:
            seen.sample(now, parts[1:])


async def through_queen(port: int, prompt: str, sample: bool) -> Reading:
    """Handed in and read in one request."""
    body = json.dumps({"model": "bench", "prompt": prompt}).encode()
    began = time.monotonic()
    reader, writer = await request(port, "POST /v2/tasks", body, "text/event-stream")
    seen = await read_stream(reader, began, sample)
    writer.close()
    return seen


async def by_two(port: int, prompt: str, sample: bool) -> Reading:
    """Handed in, and read with a second request on a second connection."""
    body = json.dumps({"model": "bench", "prompt": prompt}).encode()
    began = time.monotonic()
    reader, writer = await request(port, "POST /v2/tasks", body)
    raw = await reader.read()
    writer.close()
    assert b" 202 " in raw[:20], raw[:400]
    job = json.loads(raw[raw.index(b"\r\n\r\n") + 4 :])["job_id"]
    reader, writer = await request(port, f"GET /v2/tasks/{job}/events")
    seen = await read_stream(reader, began, sample)
    writer.close()
    return seen


async def direct(port: int, prompt: str, sample: bool) -> Reading:
    began = time.monotonic()
    reader, writer = await request(port, "POST /execute", json.dumps({"prompt": prompt}).encode())
    seen = Reading(began)
    # An upstream keeps the connection: the end frame ends the reading.
    rest = b""
    while b"event: end" not in rest[-400:]:
        data = await reader.read(262144)
        now = time.monotonic_ns()
        if not data:
            break
        rest = rest[-400:] + data
        parts = data.split(b'"t":"')
        if len(parts) > 1 and not seen.tokens:
            seen.first_s = time.monotonic() - began
        seen.tokens += len(parts) - 1
        if sample:
            seen.sample(now, [part for part in parts[1:] if b" " in part])
    writer.close()
    return seen


def start_nginx(home: Path, upstream: int) -> tuple[subprocess.Popen[bytes], int] | None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        return None
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.err;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; server { listen 127.0.0.1:%d; location / {\n"
        "proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1; proxy_buffering off; } } }\n"
        % (port, upstream)
    )
    process = subprocess.Popen([nginx, "-p", str(home), "-c", str(config)])
    time.sleep(0.5)
    return process, port


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


async def paced(
    call, port: int, streams: int, seconds: float, rate: float = 100.0
) -> dict[str, float]:
    async with asyncio.TaskGroup() as group:
        runs = []
        for _ in range(streams):
            runs.append(group.create_task(call(port, f"paced {rate} {int(rate * seconds)}", True)))
            await asyncio.sleep(1 / rate / streams)
    seen = [run.result() for run in runs]
    assert sum(one.tokens for one in seen) == streams * int(rate * seconds)
    all_run = max(one.began + one.first_s for one in seen) * 1e9
    lags = [pair for one in seen for pair in one.lags]
    steady = [lag for made, lag in lags if made > all_run]
    arriving = [lag for made, lag in lags if made <= all_run]
    return {
        "ttft_ms_p50": statistics.median(one.first_s for one in seen) * 1000,
        "lag_ms_p50": quantile(steady, 0.5),
        "lag_ms_p99": quantile(steady, 0.99),
        "arriving_ms_p99": quantile(arriving, 0.99),
        "arriving_ms": (all_run / 1e9 - min(one.began for one in seen)) * 1000,
    }


async def first_tokens(upstream: int, queen: int, nginx: int | None) -> dict[str, list[float]]:
    """Milliseconds to the first token of short answers, one at a time, all ways in turn."""
    ways = {"direct": (direct, upstream), "queen": (through_queen, queen)}
    ways["queen, two requests"] = (by_two, queen)
    if nginx is not None:
        ways["nginx"] = (direct, nginx)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FIRST_TOKENS):
        for name, (call, port) in ways.items():
            taken[name].append((await call(port, "paced 1000 2", False)).first_s * 1000)
            await asyncio.sleep(0.02)
    return taken


async def flood(port: int, pid: int, streams: int, count: int) -> dict[str, float]:
    before, began = cpu_s(pid), time.monotonic()
    async with asyncio.TaskGroup() as group:
        runs = [
            group.create_task(through_queen(port, f"flood {count}", False)) for _ in range(streams)
        ]
    took, used = time.monotonic() - began, cpu_s(pid) - before
    tokens = sum(run.result().tokens for run in runs)
    events = sum(run.result().events for run in runs)
    assert tokens == streams * count, (tokens, streams * count)
    return {
        "tokens": tokens,
        "events": events,
        "cpu_us_per_token": used / tokens * 1e6,
        "tokens_per_s": tokens / took,
    }


async def measure(
    args: argparse.Namespace, upstream: int, queen: int, pid: int, nginx: int | None
) -> dict[str, object]:
    """All numbers, with everything running; the arguments are ports and the queen's pid."""
    result: dict[str, object] = {}
    await paced(through_queen, queen, 1, 0.5)
    for streams in args.streams:
        result[f"direct {streams}"] = await paced(direct, upstream, streams, args.seconds)
        if nginx is not None:
            result[f"nginx {streams}"] = await paced(direct, nginx, streams, args.seconds)
        before = cpu_s(pid)
        row = await paced(through_queen, queen, streams, args.seconds)
        row["cpu_us_per_token"] = (cpu_s(pid) - before) / (streams * 100 * args.seconds) * 1e6
        result[f"queen {streams}"] = row
    result["first"] = await first_tokens(upstream, queen, nginx)
    for streams in (1, 16):
        result[f"flood {streams}"] = await flood(queen, pid, streams, args.flood // streams)
    result["rss_mib"] = psutil.Process(pid).memory_info().rss / 2**20
    return result


def bench(args: argparse.Namespace) -> dict[str, object]:
    """Start everything, measure, end everything."""
    with running() as made, contextlib.ExitStack() as stack:
        nginx = start_nginx(made.home, made.upstream)
        if nginx is not None:
            stack.callback(nginx[0].wait, 10)
            stack.callback(nginx[0].terminate)
        ports = made.upstream, made.port, made.queen.pid, nginx and nginx[1]
        return asyncio.run(measure(args, *ports))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--flood", type=int, default=200_000)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 16, 64, 256])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = bench(args)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(
        "Paced, 100 tokens/s a stream; milliseconds from a token's making to its reader, of tokens"
    )
    print(
        "made when all streams had begun. All begin within 10 ms: what tokens took meanwhile, and"
    )
    print("how long it was until the last one had its first, stands in the last columns.\n")
    print("| way | streams | TTFT p50 | p50 | p99 | queen's CPU per token | arriving: p99 | for |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in result.items():
        if isinstance(row, dict) and "lag_ms_p50" in row:
            way, streams = name.split()
            cpu = f"{row['cpu_us_per_token']:.0f} us" if "cpu_us_per_token" in row else ""
            print(
                f"| {way} | {streams} | {row['ttft_ms_p50']:.2f} | {row['lag_ms_p50']:.2f} | "
                f"{row['lag_ms_p99']:.2f} | {cpu} | {row['arriving_ms_p99']:.2f} | "
                f"{row['arriving_ms']:.0f} |"
            )
    print("\nThe first token of one stream, all ways in turn; milliseconds.\n")
    print("| way | median | 5 % | 95 % |\n|---|---|---|---|")
    for name, taken in sorted(result["first"].items()):
        few, many = quantile(taken, 0.05), quantile(taken, 0.95)
        print(f"| {name} | {statistics.median(taken):.2f} | {few:.2f} | {many:.2f} |")
    print("\nSaturated: upstreams that never wait, each token its own event.\n")
    print("| streams | tokens | events | queen's CPU per token | tokens/s |\n|---|---|---|---|---|")
    for name, row in result.items():
        if isinstance(row, dict) and "events" in row:
            print(
                f"| {name.split()[1]} | {row['tokens']} | {row['events']} | "
                f"{row['cpu_us_per_token']:.1f} us | {row['tokens_per_s']:.0f} |"
            )
    print(f"\nResident memory at the end: {result['rss_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
