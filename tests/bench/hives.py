"""What 200 simulated hives cost a queen, and what a real hive's own loop costs its host.

The queen is a process of her own; each hive serves real HTTP, with a CPU, two GPUs, four ready
workers, and telemetry each second. CPU is of one core, taken from the kernel's own count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import uvloop

from rbee_agent.client.hive import HiveClient
from rbee_agent.contracts.devices import Device, DeviceProcess
from rbee_agent.contracts.models import CatalogModel, Source
from rbee_agent.contracts.nodes import HiveSnapshot, Telemetry, WorkerGauge
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerState
from rbee_agent.hive.beats import Beats, QueenAddress, heartbeat
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.shelf import Shelf
from rbee_agent.models.catalog import DEMO_MODEL
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.places import Places
from rbee_agent.testing.hive import GIB, FakeHive
from tests.waiting import eventually

MIB = 1024**2
SETTLE_S = 3.0
WATCHERS = 8
WORKERS = 4


class SimulatedHive(FakeHive):
    """A host with a CPU, two GPUs and four workers that are only said to be there."""

    def snapshot(self) -> HiveSnapshot:
        """All that it knows."""
        workers = [
            WorkerInfo(
                id=f"{self.node_id}.{number}",
                node_id=self.node_id,
                model="demo",
                state=WorkerState.READY,
                url="http://127.0.0.1:9",
                backend="cuda",
                device=f"cuda:{number % 2}",
                context=4096,
                slots=8,
                fingerprint="f" * 64,
            )
            for number in range(WORKERS)
        ]
        return (
            super().snapshot().model_copy(update={"devices": self._devices(), "workers": workers})
        )

    def _devices(self) -> list[Device]:
        beat = int(time.monotonic() * 7) % 100
        return [
            self._device(),
            *(
                Device(
                    id=f"cuda:{number}",
                    backend="cuda",
                    name="Simulated GPU 24 GB",
                    uuid=f"GPU-{self.node_id}-{number}",
                    memory_total=24 * GIB,
                    memory_used=9 * GIB + beat * MIB,
                    memory_free=15 * GIB - beat * MIB,
                    utilization=beat / 100,
                    temperature_c=50 + beat / 10,
                    power_w=100.0 + beat,
                    power_limit_w=300.0,
                    processes=[DeviceProcess(pid=4000 + number, name="python", used=8 * GIB)],
                    driver="575.51.03",
                )
                for number in range(2)
            ),
        ]

    def _telemetry(self) -> Telemetry:
        beat = int(time.monotonic() * 7) % 100
        return Telemetry(
            node_id=self.node_id,
            at=time.time(),
            devices=self._devices(),
            workers=[
                WorkerGauge(
                    id=f"{self.node_id}.{number}",
                    slots_busy=beat % 8,
                    tokens_per_s=30.0 + beat / 10,
                    tokens_out_total=beat,
                    kv_usage=beat / 100,
                    memory_bytes=4 * GIB,
                )
                for number in range(WORKERS)
            ],
            load_1m=1.0,
            disk_free=100 * GIB,
        )


class Agent:
    """A queen or a hive as a process of its own, and what it costs."""

    def __init__(self, module: str, *words: str, record: str, home: Path, **env: str) -> None:
        self._record = home / "run/rbee" / record
        (home / "run").mkdir(parents=True, exist_ok=True)
        self.home = home
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_RUNTIME_DIR": str(home / "run"),
                "RBEE_QUEEN_PORT": "0",
                "RBEE_HIVE_PORT": "0",
                **env,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._seen = psutil.Process(self._process.pid)

    async def url(self) -> str:
        """Where it listens, as soon as it does."""
        async with asyncio.timeout(60):
            while True:
                if self._record.exists():
                    return str(json.loads(self._record.read_text())["url"])
                if self._process.poll() is not None:
                    sys.exit(f"{self._process.args} ended with {self._process.returncode}")
                await asyncio.sleep(0.05)

    @property
    def memory(self) -> float:
        """Resident MiB."""
        return float(self._seen.memory_info().rss) / MIB

    def cpu(self) -> float:
        """CPU seconds so far."""
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(30)


class Watch:
    """One reader of an event stream, counting."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0

    async def read(self, url: str, token: str | None = None) -> None:
        """Read for ever."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.get(url) as answer,
        ):
            answer.raise_for_status()
            async for chunk in answer.content.iter_any():
                self.bytes += len(chunk)
                self.events += chunk.count(b"\n\n")


@asynccontextmanager
async def watching(count: int, url: str, token: str | None = None) -> AsyncIterator[list[Watch]]:
    """`count` readers of one stream."""
    watches = [Watch() for _ in range(count)]
    tasks = [asyncio.create_task(watch.read(url, token)) for watch in watches]
    try:
        yield watches
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def beating(hives: list[SimulatedHive], url: str) -> AsyncIterator[None]:
    """Every hive sends its heartbeat each second, over TLS and a connection of its own."""
    async with AsyncExitStack() as stack:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v2/hosts/key") as answer:
            key = await answer.json()
        queen = QueenAddress(key["listen"], key["certificate"])

        async def beat(hive: SimulatedHive, beats: Beats) -> None:
            workers = hive.snapshot().workers
            while True:
                beats.beat(heartbeat(hive._telemetry(), workers, hive.models))
                await asyncio.sleep(1.0)

        tasks = []
        for hive in hives:
            own = await stack.enter_async_context(aiohttp.ClientSession())
            beats = Beats(own, queen, hive.registration(), HiveFeed())
            tasks += [asyncio.create_task(beats.run()), asyncio.create_task(beat(hive, beats))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def measure(agent: Agent, label: str, seconds: float, watches: list[Watch]) -> float:
    """Print one row; returns the share of a core."""
    await asyncio.sleep(SETTLE_S)
    seen = [(watch.events, watch.bytes) for watch in watches]
    began, used = time.monotonic(), agent.cpu()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    share = (agent.cpu() - used) / took
    rates = [(w.events - e) / took for w, (e, _) in zip(watches, seen, strict=True)]
    sizes = [(w.bytes - b) / took / 1024 for w, (_, b) in zip(watches, seen, strict=True)]
    each = f"{rates[0]:.0f} | {sizes[0]:.1f}" if rates else "- | -"
    print(f"| {label} | {share:.1%} | {agent.memory:.0f} | {each} |", flush=True)
    return share


HEAD = """| {} | CPU (of a core) | MiB | events/s each | KiB/s each |
| --- | --- | --- | --- | --- |"""


async def queens_side(count: int, seconds: float, root: Path) -> None:
    """The queen with none, with all hives, and with people who watch."""
    port = {"RBEE_QUEEN_LISTEN": "127.0.0.1:0"}
    queen = Agent("rbee_agent.queen", record="queen.json", home=root / "queen", **port)
    async with AsyncExitStack() as stack:
        stack.callback(queen.end)
        url = await queen.url()
        print(HEAD.format("queen"), flush=True)
        await measure(queen, "no hive", seconds / 2, [])
        empty = queen.memory
        hives = [
            await stack.enter_async_context(SimulatedHive(f"host-{number:03}"))
            for number in range(count)
        ]
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            for hive in hives:
                body = hive.registration().dump()
                async with session.post(f"{url}/v2/nodes/register", json=body) as answer:
                    answer.raise_for_status()
            await _all_online(session, url, count)
        joined = time.monotonic() - began
        share = await measure(queen, f"{count} hives, nobody watches", seconds, [])
        full = queen.memory
        for readers in (1, WATCHERS):
            async with watching(readers, f"{url}/v2/events") as watches:
                label = f"{count} hives, {readers} control center{'s' if readers > 1 else ''}"
                await measure(queen, label, seconds, watches)
        async with beating(hives, url):
            await measure(queen, f"{count} hives, and their heartbeats", seconds, [])
        print(
            f"\nRegistered and online: {count} hives in {joined:.1f} s. A hive costs the queen "
            f"{share / count * 1e6:.0f} µs of CPU a second and {(full - empty) / count * 1024:.0f} "
            f"KiB.\n",
            flush=True,
        )


async def _all_online(session: aiohttp.ClientSession, url: str, count: int) -> None:
    async with asyncio.timeout(120):
        while True:
            async with session.get(f"{url}/v2/nodes") as answer:
                nodes = (await answer.json())["nodes"]
            if sum(node["state"] == "online" for node in nodes) == count:
                return
            await asyncio.sleep(0.05)


async def hives_side(seconds: float, root: Path) -> None:
    """A real hive: its own loop, a reader, a driver with two GPUs."""
    print(HEAD.format("hive (real)"), flush=True)
    env = {}
    for label in ("CPU only", "with two GPUs (played NVML driver)"):
        if label != "CPU only":
            env = _driver(root)
            if not env:
                print("(no C compiler: the played driver was left out)")
                return
        hive = Agent(
            "rbee_agent.hive", "serve", record="hive.json", home=root / f"hive-{len(env)}", **env
        )
        try:
            url = await hive.url()
            token = (hive.home / ".local/state/rbee/hive.token").read_text().strip()
            await measure(hive, f"{label}, nobody reads", seconds / 2, [])
            async with watching(1, f"{url}/v1/events", token) as watches:
                await measure(hive, f"{label}, a queen reads", seconds, watches)
        finally:
            hive.end()
    await _with_workers(seconds, root / "hive-workers")


async def _with_workers(seconds: float, home: Path) -> None:
    """A real hive with real workers, which it asks for their figures each second."""
    known = Shelf(Places.of_user(), SystemClock()).get(DEMO_MODEL)
    if known is None:
        print("(no demo model: run `make model`; the row with workers was left out)")
        return
    hive = Agent(
        "rbee_agent.hive",
        "serve",
        record="hive.json",
        home=home,
        RBEE_HIVE_WORKER_PORT_FIRST="18900",
    )
    try:
        url = await hive.url()
        token = (home / ".local/state/rbee/hive.token").read_text().strip()
        file = CatalogModel(id="demo", sources=[Source(kind="file", location=known.path)])
        async with HiveClient(url, token) as client:
            [news async for news in client.pull(file)]
            wanted = SpawnRequest(model="demo", context=256, slots=1, threads=1)
            spawned = [await client.spawn(wanted) for _ in range(2)]

            async def all_ready() -> bool:
                return all(info.state == "ready" for info in await client.workers())

            await eventually(all_ready)
            async with watching(1, f"{url}/v1/events", token) as watches:
                await measure(hive, "two idle workers, a queen reads", seconds, watches)
            for info in spawned:
                await client.stop_worker(info.id, timeout=60)
    finally:
        hive.end()


def _driver(root: Path) -> dict[str, str]:
    """The environment in which the driver of the tests is found; empty without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    library, source = root / "libnvidia-ml.so.1", Path(__file__).parents[1] / "hive/fake_nvml.c"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source)], check=True
    )
    (root / "driver").mkdir()
    return {"LD_LIBRARY_PATH": str(root), "FAKE_NVML": str(root / "driver")}


async def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hives", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        await queens_side(chosen.hives, chosen.seconds, Path(name))
        await hives_side(chosen.seconds, Path(name))


if __name__ == "__main__":
    uvloop.run(main())
