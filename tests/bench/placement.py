"""``bench placement``: decisions over large fleets, with and without a policy, and telemetry.

Run: ``nice python tests/bench/placement.py``. Targets: p99 of 1 ms built in and 8 ms with a policy
at 200 and 2,000 hosts of 8 workers each; 2,000 telemetry updates a second in 0.15 of a core.
"""

from __future__ import annotations

import asyncio
import random
import time

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.nodes import (
    HiveIdentity,
    HiveSnapshot,
    NodeRegistration,
    Telemetry,
    WorkerGauge,
)
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.placement import Need, decide, usable_workers
from rbee_agent.queen.policy_data import fleet_data, worker_data
from rbee_agent.queen.policy_process import Helper, Script
from rbee_agent.queen.registry import Registry
from rbee_agent.runtime.clock import SystemClock

POLICY = """
def place(task, workers, fleet):
    idle = [w for w in workers if w["free"] > 0]
    return least_loaded(idle)
"""
UPDATES, TURNS = 2000, 10
TASK = {"id": "t", "model": "m", "priority": "interactive"}


def device() -> Device:
    return Device(
        id="cuda:0",
        backend="cuda",
        name="GPU",
        memory_total=24 << 30,
        memory_used=1 << 30,
        memory_free=23 << 30,
    )


def fleet(hosts: int) -> Registry:
    """Hosts with eight ready workers of one model each."""
    registry = Registry(Feed(SystemClock(), "bench"), SystemClock())
    random_ = random.Random(1)
    for host in range(hosts):
        name = f"h{host}"
        node = registry.add_node(NodeRegistration(node_id=name, url="http://x"))
        workers = [
            WorkerInfo(
                id=f"{name}.{n}",
                model="m",
                state="ready",
                slots=8,
                device="cuda:0",
                tokens_per_s=random_.uniform(20, 80),
            )
            for n in range(8)
        ]
        identity = HiveIdentity(node_id=name, hostname=name, version="1", protocol=1)
        registry.apply_snapshot(
            node, HiveSnapshot(identity=identity, at=0.0, devices=[device()], workers=workers)
        )
    return registry


def quantiles(values: list[float]) -> str:
    values.sort()
    return f"{values[len(values) // 2]:.3f} ms | {values[int(len(values) * 0.99)]:.3f} ms"


def built_in(registry: Registry) -> None:
    """Decide, reserve and give back, so that the index moves as in life."""
    took, cpu, held = [], [], []
    for number in range(5000):
        began, used = time.perf_counter(), time.thread_time()
        decision = decide(registry.index("m"), Need("m"), turn=number)
        took.append((time.perf_counter() - began) * 1000)
        cpu.append((time.thread_time() - used) * 1000)
        assert decision.worker_id is not None
        registry.reserve(decision.worker_id, f"t{number}")
        held.append((decision.worker_id, f"t{number}"))
        if len(held) > 2000:
            registry.release(*held.pop(0))
    hosts = len(registry.nodes)
    print(f"| {hosts} | decision, built in | {quantiles(took)} |")
    print(f"| {hosts} | the same, CPU alone | {quantiles(cpu)} |")
    for pair in held:
        registry.release(*pair)


async def with_policy(registry: Registry) -> None:
    """The whole of it: candidates, helper process and back, decision."""
    helper = Helper(Script("bench.star", POLICY, 0.0))
    await helper.hooks()
    took = []
    for _ in range(1000):
        began = time.perf_counter()
        need = Need("m")
        usable = usable_workers(registry.index("m"), need)
        fleet = fleet_data(registry.index("m"), waiting=0, running=0)
        named = await helper.call("place", TASK, worker_data(usable, need), fleet)
        decision = decide(registry.index("m"), need, prefer=named)
        took.append((time.perf_counter() - began) * 1000)
        assert decision.worker_id == named
    await helper.close()
    print(f"| {len(registry.nodes)} | decision, with a policy | {quantiles(took)} |")


def telemetry(registry: Registry, hosts: int) -> None:
    """Ten times two thousand updates, from JSON to the registry; CPU seconds for two thousand.

    Ten, so that the collections of garbage that they cause are paid for by them, too.
    """
    random_ = random.Random(2)
    speeds = {name: worker.info.tokens_per_s for name, worker in registry.workers.items()}
    used = []
    for turn in range(TURNS):
        texts = [telemetry_of(f"h{n % hosts}", turn, speeds, random_) for n in range(UPDATES)]
        began = time.process_time()
        for name, text in texts:
            registry.apply_telemetry(registry.nodes[name], Telemetry.read_json(text))
        used.append(time.process_time() - began)
    mean = sum(used) / TURNS
    print(f"| {hosts} | {UPDATES} telemetry updates, mean | {mean:.3f} CPU s | |")
    print(f"| {hosts} | the same, worst of {TURNS} | {max(used):.3f} CPU s | |")


def telemetry_of(
    name: str, turn: int, speeds: dict[str, float], random_: random.Random
) -> tuple[str, str]:
    """One host's figures as its hive sends them."""
    gauges = [
        WorkerGauge(
            id=f"{name}.{n}",
            slots_busy=random_.randrange(8),
            tokens_per_s=speeds[f"{name}.{n}"] * random_.uniform(0.9, 1.1),
            tokens_out_total=turn,
            memory_bytes=1 << 30,
        )
        for n in range(8)
    ]
    made = Telemetry(node_id=name, at=0.0, devices=[device()], workers=gauges)
    return name, made.dump_json()


async def main() -> None:
    print("Eight workers a host, all of one model.\n")
    print("| hosts | what | p50 | p99 |\n|---|---|---|---|")
    for hosts in (200, 2000):
        registry = fleet(hosts)
        built_in(registry)
        await with_policy(registry)
        telemetry(registry, hosts)


if __name__ == "__main__":
    asyncio.run(main())
