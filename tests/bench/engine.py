"""The engine over HTTP beside the raw limit, `llama_cpp.server` and a `llama-server`, in one run.

Needs the demo model (`RBEE_DEMO_MODEL`, or downloaded). `RBEE_LLAMA_SERVER` names a llama-server
binary to compare with. All contestants run the same file on the same threads; their turns are
interleaved, so that a noisy machine is unfair to all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench._contestants import (
    CHUNK,
    CONTEXT,
    Contestant,
    bare_loop,
    find_model,
    llama_cpp_server,
    llama_server,
    rbee_worker,
)

WIDTHS = (1, 2, 4, 8, 16)
STRICT_WIDTHS = (1, 4, 8)
PROOF_S = 1200.0
SHORT, LONG, TOKENS = 40, 2000, 96
_WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child"]


@dataclass
class Stream:
    """When a stream's tokens came, in seconds since it was asked for."""

    began: float
    times: list[float] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.began

    @property
    def worst_gap(self) -> float:
        """Seconds without a token, at worst."""
        return max((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=0.0)


def prompt(length: int) -> str:
    """About as many tokens, never the same twice."""
    return "Say: " + " ".join(random.choices(_WORDS, k=length - 3))


async def read(one: Contestant, text: str, tokens: int, **options: Any) -> Stream:
    """Ask for `tokens` tokens and note when each came."""
    stream = Stream(time.perf_counter())
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=2**20)
    if one.path:
        body = json.dumps(one.body(text, tokens, options)).encode()
        head = f"POST {one.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {one.token}\r\n\r\n"
        writer.write(head.encode() + body)
    while data := await reader.read(2**16):
        stream.times += [time.perf_counter()] * data.count(one.mark)
    writer.close()
    assert stream.times, f"{one.name} sent no token"
    return stream


async def together(
    one: Contestant, width: int, tokens: int, *, length: int = SHORT, **options: Any
) -> list[Stream]:
    """So many streams at once."""
    texts = [prompt(length) for _ in range(width)]
    if one.announce is not None:
        control = await one.announce(width, texts, tokens)
        streams = await asyncio.gather(*(read(one, text, tokens) for text in texts))
        control.close()
        return streams
    return await asyncio.gather(*(read(one, text, tokens, **options) for text in texts))


def decode_rate(streams: Sequence[Stream]) -> float:
    """Tokens per second while all of them decode."""
    begin = max(stream.times[0] for stream in streams)
    end = min(stream.times[-1] for stream in streams)
    made = sum(sum(begin < at <= end for at in stream.times) for stream in streams)
    return made / (end - begin) if end > begin else float("nan")


def whole_rate(streams: Sequence[Stream]) -> float:
    """Tokens per second from the first request to the last token."""
    made = sum(len(stream.times) for stream in streams)
    began = min(stream.began for stream in streams)
    return made / (max(stream.times[-1] for stream in streams) - began)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, the greatest of few."""
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and, where there is more than one, least and greatest."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


async def widths(contestants: Sequence[Contestant], rounds: int, tokens: int) -> None:
    """Throughput and TTFT at each width."""
    base, ours = contestants[0], contestants[1]
    rate: dict[tuple[str, int], list[float]] = {}
    whole: dict[tuple[str, int], list[float]] = {}
    ttft: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds):
        for width in WIDTHS:
            order = contestants if turn % 2 == 0 else list(reversed(contestants))
            for one in order:
                if width not in one.widths:
                    continue
                streams = await together(one, width, tokens)
                key = (one.name, width)
                rate.setdefault(key, []).append(decode_rate(streams))
                whole.setdefault(key, []).append(whole_rate(streams))
                ttft.setdefault(key, []).append(p95([stream.ttft for stream in streams]))
    print("Decode phase, all streams decoding:\n")
    names = [one.name for one in contestants[1:]]
    print("| streams | bare loop tok/s |" + "".join(f" {n} of it |" for n in names))
    print("|---|---|" + "---|" * len(names))
    for width in WIDTHS:
        cells = [
            _ratios(rate.get((name, width), []), rate.get((base.name, width), [])) for name in names
        ]
        print(f"| {width} | {spread(rate[base.name, width], 0)} | " + " | ".join(cells) + " |")
    print("\nWhole runs, prompts of 40 tokens read too:\n")
    print("| streams |" + "".join(f" {n} tok/s | {n} TTFT p95 ms |" for n in names))
    print("|---|" + "---|---|" * len(names))
    for width in WIDTHS:
        print(f"| {width} |", end="")
        for name in names:
            key = (name, width)
            late = [1000 * one for one in ttft.get(key, [])]
            print(f" {spread(whole.get(key, []), 0)} | {spread(late, 0)} |", end="")
        print()
    print("\nOurs against the others, at 8 streams:\n")
    for name in names[1:]:
        if (name, 8) in whole:
            faster = _ratios(whole[ours.name, 8], whole[name, 8])
            sooner = _ratios(ttft[ours.name, 8], ttft[name, 8])
            print(f"- {name}: throughput {faster} times its, TTFT p95 {sooner} of its")


def _ratios(values: Sequence[float], base: Sequence[float]) -> str:
    return spread([a / b for a, b in zip(values, base, strict=False)]) if values else "-"


async def long_prompts(ours: Contestant, rounds: int) -> None:
    """Cold and warm prefixes, and what a long prompt does to the others."""
    cold, warm, gaps = [], [], []
    for _ in range(rounds):
        text = prompt(LONG)
        cold.append((await read(ours, text, 4)).ttft)
        warm.append((await read(ours, text, 4)).ttft)
        streams = [asyncio.create_task(read(ours, prompt(SHORT), 400)) for _ in range(3)]
        await asyncio.sleep(1.5)
        await read(ours, prompt(LONG), 1)
        ended = await asyncio.gather(*streams)
        gaps.append(max(stream.worst_gap for stream in ended))
    chunk = statistics.median(cold) / (LONG / CHUNK)
    print(f"\n- a prompt of {LONG} tokens: TTFT cold {spread(cold)} s, "
          f"{LONG / statistics.median(cold):.0f} tok/s")  # fmt: skip
    print(f"- the same again: TTFT {spread(warm, 3)} s, {_ratios(warm, cold)} of cold")
    print(f"- worst gap of 3 other streams meanwhile {spread(gaps, 3)} s, "
          f"{statistics.median(gaps) / chunk:.2f} chunks of {chunk:.3f} s")  # fmt: skip


async def strict(ours: Contestant, rounds: int) -> None:
    """What strict costs, once everything is proved that can be."""
    began = time.perf_counter()
    await read(ours, prompt(SHORT), 4, strict=True)
    while f"batch:{max(STRICT_WIDTHS)}" not in (await ours.health())["profile"]["proved"]:
        assert time.perf_counter() - began < PROOF_S, "the proofs do not end"
        await asyncio.sleep(1)
    proved = (await ours.health())["profile"]["proved"]
    print(f"\nStrict, with {', '.join(proved)} proved in {time.perf_counter() - began:.0f} s:\n")
    print("| streams | best effort tok/s | strict of it | strict warm TTFT of cold |")
    print("|---|---|---|---|")
    for width in STRICT_WIDTHS:
        plain, exact, ttft = [], [], []
        for _ in range(rounds):
            plain.append(decode_rate(await together(ours, width, TOKENS)))
            exact.append(decode_rate(await together(ours, width, TOKENS, strict=True)))
            text = prompt(LONG // 4)
            cold = (await read(ours, text, 2, strict=True)).ttft
            ttft.append((await read(ours, text, 2, strict=True)).ttft / cold)
        print(f"| {width} | {spread(plain, 0)} | {_ratios(exact, plain)} | {spread(ttft)} |")


async def resume(ours: Contestant, rounds: int) -> None:
    """How fast 500 known tokens are fed again."""
    ids = [random.randrange(1000, 20000) for _ in range(500)]
    for kind in (True, False):
        took = []
        for _ in range(rounds):
            text = prompt(SHORT)
            base = (await read(ours, text, 1, strict=kind)).ttft
            stream = await read(ours, text, 501, strict=kind, resume_token_ids=ids)
            took.append(stream.ttft - base)
        name = "strict, one by one" if kind else "best effort, in chunks"
        print(f"- 500 known tokens replayed ({name}): {spread(took)} s")


async def bench(rounds: int, only: str | None, tokens: int) -> None:
    """Start the contestants and let them take turns."""
    model, exits = find_model(), []
    try:
        ours = rbee_worker(model, slots=max(WIDTHS))
        exits.append(ours.stop)
        await ours.ready()
        parts: dict[str, Callable[[], Any]] = {
            "long": lambda: long_prompts(ours, rounds),
            "strict": lambda: _strict_part(model, rounds),
        }
        if only in (None, "widths"):
            others = [
                bare_loop(model, ours, max(WIDTHS)),
                ours,
                llama_cpp_server(model),
            ]
            binary = os.environ.get("RBEE_LLAMA_SERVER")
            others += [llama_server(model, binary, max(WIDTHS))] if binary else []
            exits += [one.stop for one in others if one is not ours]
            for one in others:
                await one.ready()
            await widths(others, rounds, tokens)
            share = await ours.gauge("rbee_engine_decode_ratio")
            print(f"- engine time inside llama_decode: {100 * share:.1f} %")
        for name, part in parts.items():
            if only in (None, name):
                await part()
    finally:
        for stop in exits:
            stop()


async def _strict_part(model: str, rounds: int) -> None:
    ours = rbee_worker(model, slots=max(STRICT_WIDTHS))
    try:
        await ours.ready()
        await strict(ours, rounds)
        await resume(ours, rounds)
    finally:
        ours.stop()


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each stream, at each width")
    parser.add_argument("--only", choices=("widths", "long", "strict"))
    args = parser.parse_args()
    print(f"Context {CONTEXT}, chunk {CHUNK}, {args.rounds} rounds; median (least to greatest).\n")
    asyncio.run(bench(args.rounds, args.only, args.tokens))


if __name__ == "__main__":
    main()
