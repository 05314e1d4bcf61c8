"""A large fleet on paper: hosts with GPUs, workers and running streams, served by a `PaperQueen`.

``python -m rbee_agent.testing.large_fleet --hosts 200`` prints the queen's address and serves until
it is interrupted: ``rbee --queen URL`` then looks at a fleet that nobody owns.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import sys
import time
from collections.abc import Iterator
from itertools import count, cycle
from typing import Final

from rbee_agent.contracts.devices import Device, DeviceProcess
from rbee_agent.contracts.events import FleetSnapshot, QueenInfo
from rbee_agent.contracts.models import CatalogModel, GgufFacts, Source
from rbee_agent.contracts.nodes import NodeInfo, NodeState, Telemetry, WorkerGauge
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.testing.paper_queen import PaperQueen

GIB: Final = 1024**3
GPUS: Final = 4
WORKERS: Final = 8
"""On each host: two on each GPU."""
MODELS: Final = ("qwen2.5-14b", "llama-3.1-8b", "smollm2-135m", "mistral-small-24b")
SHARES: Final = 20
"""Telemetry comes in so many parts a second, as from hosts that do not know of each other."""
MARK: Final = re.compile(r"t(\d{7})\b")
MARK_MS: Final = 10_000_000
"""Marks begin anew after so many milliseconds."""


def nodes(hosts: int, at: float) -> list[NodeInfo]:
    """The hosts, each with its GPUs."""
    return [
        NodeInfo(
            id=f"gpu-{host:03}",
            state=NodeState.ONLINE,
            hostname=f"gpu-{host:03}",
            version="0.1.0",
            os="linux",
            arch="x86_64",
            backends=["cuda", "cpu"],
            devices=_devices(host, at),
            models=list(MODELS),
            disk_free=412 * GIB,
            last_seen_at=at,
        )
        for host in range(hosts)
    ]


def _devices(host: int, at: float) -> list[Device]:
    return [_device(host, gpu, at) for gpu in range(GPUS)]


def _device(host: int, gpu: int, at: float) -> Device:
    load = 0.5 + 0.5 * math.sin(at / 7 + host + gpu)
    used = int((14 + 6 * load) * GIB)
    return Device(
        id=f"cuda:{gpu}",
        backend="cuda",
        name="RTX 4090",
        uuid=f"GPU-{host}-{gpu}",
        memory_total=24 * GIB,
        memory_used=used,
        memory_free=24 * GIB - used,
        utilization=round(load, 3),
        temperature_c=round(45 + 30 * load),
        power_w=round(80 + 320 * load, 1),
        power_limit_w=450.0,
        processes=[
            DeviceProcess(pid=4000 + gpu * 2 + at_, name="llm-worker-rbee", used=7 * GIB,
                          worker_id=worker_id(host, gpu * 2 + at_))
            for at_ in range(2)
        ],
    )  # fmt: skip


def worker_id(host: int, at: int) -> str:
    """The name of a host's worker."""
    return f"w-{host:03}-{at}"


def workers(hosts: int, at: float) -> list[WorkerInfo]:
    """Workers on every device, all ready."""
    return [
        WorkerInfo(
            id=worker_id(host, number),
            node_id=f"gpu-{host:03}",
            model=MODELS[number % len(MODELS)],
            state=WorkerState.READY,
            pid=4000 + number,
            backend="cuda",
            device=f"cuda:{number // 2}",
            context=8192,
            slots=4,
            memory_bytes=7 * GIB,
            started_at=at - 3606,
            ready_at=at - 3600,
        )
        for host in range(hosts)
        for number in range(WORKERS)
    ]


def telemetry(host: int, at: float) -> Telemetry:
    """One second of one host: everything in it moves."""
    gauges = []
    for number in range(WORKERS):
        busy = (host + number + int(at / 5)) % 5
        gauges.append(
            WorkerGauge(
                id=worker_id(host, number),
                slots_busy=busy,
                tokens_per_s=round(busy * 20 + 5 * math.sin(at + number), 1) if busy else 0.0,
                tokens_out_total=int(at) % 10_000_000,
                kv_usage=busy / 5,
                memory_bytes=7 * GIB,
            )
        )
    return Telemetry(
        node_id=f"gpu-{host:03}",
        at=at,
        devices=_devices(host, at),
        workers=gauges,
        load_1m=3.2,
        disk_free=412 * GIB,
    )


def _models() -> list[CatalogModel]:
    return [
        CatalogModel(
            id=name,
            sources=[Source(kind="hf", location=f"demo/{name}-GGUF", file=f"{name}.gguf")],
            size=6 * GIB,
            facts=GgufFacts(
                architecture="llama", quantization="Q5_K_M", size=6 * GIB, layers=32,
                embedding_length=4096, feed_forward_length=14336, heads=32, heads_kv=8,
                key_length=128, value_length=128, vocab_size=128_256, context_length=32768,
            ),
        )
        for name in MODELS
    ]  # fmt: skip


class LargeFleet:
    """A paper queen over so many hosts, with so many streams that begin anew when they end."""

    def __init__(self, hosts: int, streams: int, *, tokens_per_s: float, length: int) -> None:
        began = time.time()
        self._hosts = hosts
        self._streams = streams
        self._turn: Iterator[int] = cycle(range(SHARES))
        self._ids = count(1)
        info = QueenInfo(version="0.1.0", started_at=began, epoch="paper", policy="affinity")
        snapshot = FleetSnapshot(
            seq=1, at=began, queen=info, nodes=nodes(hosts, began), workers=workers(hosts, began),
            models=_models(),
        )  # fmt: skip
        self.queen = PaperQueen(
            snapshot,
            telemetry=self._due,
            tokens_per_s=tokens_per_s,
            max_tokens=length,
            telemetry_interval_s=1 / SHARES,
        )

    def _due(self, now: float) -> list[Telemetry]:
        share = next(self._turn)
        return [telemetry(host, now) for host in range(share, self._hosts, SHARES)]

    async def keep_streaming(self) -> None:
        """Begin a stream for each that ended, for ever."""
        while True:
            while self.queen.running < self._streams:
                number = next(self._ids)
                host = number % self._hosts
                self.queen.begin(
                    TaskInfo(
                        job_id=f"task-{number:05}",
                        state=TaskState.RUNNING,
                        model=MODELS[number % len(MODELS)],
                        created_at=time.time(),
                        started_at=time.time(),
                        worker_id=worker_id(host, number % WORKERS),
                        node_id=f"gpu-{host:03}",
                    )
                )
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)

    async def keep_changing(self, every_s: float) -> None:
        """Change the state of the first worker by model and name, which says when: see `marked`."""
        first = min(self.queen.snapshot.workers, key=lambda w: (w.model, w.id))
        while True:
            await asyncio.sleep(every_s)
            update = {"state": WorkerState.BACKOFF, "error": mark(time.time())}
            self.queen.change("worker", first.id, first.model_copy(update=update))

    async def serve(self, port: int = 0, *, change_every_s: float = 0.0) -> None:
        """Print the address and serve until cancelled."""
        async with self.queen.serve(port), asyncio.TaskGroup() as group:
            sys.stdout.write(f"{self.queen.url}\n")
            sys.stdout.flush()
            group.create_task(self.keep_streaming())
            if change_every_s:
                group.create_task(self.keep_changing(change_every_s))


def mark(at: float) -> str:
    """A moment (Unix seconds) in few letters, for the end that measures: its milliseconds."""
    return f"t{int(at * 1000) % MARK_MS:07}"


def marked(text: str) -> float | None:
    """The newest moment that is written in the text, seconds of `MARK_MS`; None without one."""
    found = MARK.findall(text)
    return int(found[-1]) / 1000 if found else None


def main() -> None:
    """Serve a fleet as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m rbee_agent.testing.large_fleet")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens-per-s", type=float, default=80.0)
    parser.add_argument("--length", type=int, default=2000, help="tokens of each stream")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--change-every",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="a worker changes its state so often",
    )
    given = parser.parse_args()
    fleet = LargeFleet(
        given.hosts, given.streams, tokens_per_s=given.tokens_per_s, length=given.length
    )
    try:
        asyncio.run(fleet.serve(given.port, change_every_s=given.change_every))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
