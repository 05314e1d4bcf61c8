"""A small fleet on paper: the demo data of pictures, snapshot tests and the simulated queen.

It is made of contract types, so it cannot drift from what a real queen sends; all its times are
relative to `NOW`.
"""

from __future__ import annotations

from typing import Final

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.devices import Device, DeviceProcess
from rbee_agent.contracts.events import FleetSnapshot, Narration, QueenInfo, TapChunk, TapStream
from rbee_agent.contracts.models import CatalogModel, GgufFacts, PullProgress, Source
from rbee_agent.contracts.nodes import NodeInfo, NodeState, Telemetry, WorkerGauge
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo, TaskState, Timings
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.wire.sse import ServerEvent

NOW: Final = 1_767_225_600.0
"""Midnight at the start of 2026, UTC."""
GIB: Final = 1024**3
URL: Final = "http://127.0.0.1:8080"

POEM: Final = (
    "The bees of the house are small machines,\n"
    "each one carries a single word at a time.\n"
    "They fly from the hive to the queen's lit room\n"
    "and lay what they found in a waiting line.\n\n"
    "Nobody asks them to hurry or stay;\n"
    "the fans hum low and the night is warm.\n"
    "A token, a token, and then there is day:\n"
    "the sentence is whole and the comb takes form"
)
PLAN: Final = (
    "Here is a plan in four steps.\n\n"
    "1. Measure how much memory each model needs, with its context, before you buy anything.\n"
    "2. Put the model that is asked most often on the fastest card and keep it there.\n"
    "3. Let the rest share the second card and load when they are asked for.\n"
    "4. Watch the queue, not the utilisation: a busy card is fine, a waiting person is not"
)
CODE: Final = (
    "def median(values: list[float]) -> float:\n"
    '    """The middle value, or the mean of the two in the middle."""\n'
    "    ordered = sorted(values)\n"
    "    half = len(ordered) // 2\n"
    "    if len(ordered) % 2:\n"
    "        return ordered[half]\n"
    "    return (ordered[half - 1] + ordered[half]) / 2"
)


def demo_messages() -> list[ServerEvent]:
    """The fleet's snapshot, a minute of telemetry and what three streams said."""
    snapshot = _snapshot()
    messages = [_message("snapshot", snapshot, id=f"demo-{snapshot.seq}")]
    for second in range(60):
        at = NOW - 60 + second
        messages += [
            _message("telemetry", telemetry)
            for node in snapshot.nodes
            if (telemetry := _telemetry(node, second, at)) is not None
        ]
    return [*messages, _message("tap", _tap())]


def _message(name: str, value: Contract, *, id: str | None = None) -> ServerEvent:
    return ServerEvent(name, value.dump_json(), id)


def _gpu(
    at: int,
    name: str,
    total: int,
    used: float,
    *,
    heat: float,
    power: float,
    load: float,
    our: float,
) -> Device:
    """A GPU; `used` and `our` in GiB."""
    processes = [
        DeviceProcess(pid=4000 + at, name="llm-worker-rbee", used=int(our * GIB), worker_id="w"),
        DeviceProcess(pid=910, name="Xorg", user="root", used=int((used - our) * GIB)),
    ]
    return Device(
        id=f"cuda:{at}",
        backend="cuda",
        name=name,
        uuid=f"GPU-{at}",
        memory_total=total * GIB,
        memory_used=int(used * GIB),
        memory_free=int((total - used) * GIB),
        utilization=load,
        temperature_c=heat,
        power_w=power,
        power_limit_w=450.0,
        processes=processes,
    )


def _cpu(name: str, total: int, used: float, load: float) -> Device:
    return Device(
        id="cpu",
        backend="cpu",
        name=name,
        memory_total=total * GIB,
        memory_used=int(used * GIB),
        memory_free=int((total - used) * GIB),
        utilization=load,
        threads=16,
    )


def _devices(node_id: str) -> list[Device]:
    if node_id == "atelier":
        return [
            _gpu(0, "RTX 4090", 24, 21.8, heat=71, power=388, load=0.97, our=20.9),
            _gpu(1, "RTX 4090", 24, 9.1, heat=58, power=212, load=0.64, our=8.2),
        ]
    if node_id == "cellar":
        loading = _gpu(0, "RTX 3090", 24, 14.2, heat=83, power=341, load=0.88, our=11.0)
        return [loading.model_copy(update={"memory_reserved": int(3.4 * GIB)})]
    return [_cpu("Ryzen 7 7840U", 32, 11.4, 0.41)]


def _node(node_id: str, state: NodeState = NodeState.ONLINE, *, seen: float = 1.0) -> NodeInfo:
    return NodeInfo(
        id=node_id,
        state=state,
        hostname=node_id,
        version="0.1.0",
        os="linux",
        arch="x86_64",
        backends=["cpu"] if node_id == "laptop" else ["cuda", "cpu"],
        devices=_devices(node_id),
        models=["smollm2-135m"] if node_id == "laptop" else ["llama-3.1-8b", "qwen2.5-14b"],
        load_1m=3.2,
        disk_free=412 * GIB,
        last_seen_at=NOW - seen,
        reason="no sign of life for 4 s; probing" if state is NodeState.SUSPECT else None,
    )


def _worker(
    id: str,
    node: str,
    model: str,
    device: str,
    state: WorkerState,
    *,
    slots: int = 4,
    busy: int = 0,
    speed: float = 0.0,
    memory: float = 0.0,
    progress: float | None = None,
) -> WorkerInfo:
    return WorkerInfo(
        id=id,
        node_id=node,
        model=model,
        state=state,
        pid=4000,
        backend=device.partition(":")[0],
        device=device,
        context=8192,
        slots=slots,
        slots_busy=busy,
        tokens_per_s=speed,
        memory_bytes=int(memory * GIB) or None,
        kv_usage=busy / slots * 0.4 if slots else None,
        load_progress=progress,
        ready_at=NOW - 5400 if state is WorkerState.READY else None,
        restarts=2 if state is WorkerState.BACKOFF else 0,
        restart_at=NOW + 7 if state is WorkerState.BACKOFF else None,
        error="out of memory in step 88" if state is WorkerState.BACKOFF else None,
    )


_QWEN, _LLAMA, _SMOL = "qwen2.5-14b", "llama-3.1-8b", "smollm2-135m"


def _workers() -> list[WorkerInfo]:
    ready, loading = WorkerState.READY, WorkerState.LOADING
    return [
        _worker("w-7f3k", "atelier", _QWEN, "cuda:0", ready, busy=2, speed=88.4, memory=20.9),
        _worker("w-2m9c", "atelier", _LLAMA, "cuda:1", ready, busy=1, speed=61.2, memory=8.2),
        _worker("w-x04d", "cellar", _LLAMA, "cuda:0", loading, memory=11.0, progress=0.62),
        _worker("w-h5tz", "laptop", _SMOL, "cpu", ready, slots=2, speed=0.0, memory=0.4),
        _worker("w-b81q", "cellar", _QWEN, "cuda:0", WorkerState.BACKOFF),
    ]


def _task(
    id: str, state: TaskState, model: str, *, worker: str | None = None, ago: float, out: int = 0
) -> TaskInfo:
    ended = state.final
    return TaskInfo(
        job_id=id,
        state=state,
        model=model,
        workload="chat",
        created_at=NOW - ago,
        started_at=None if state is TaskState.QUEUED else NOW - ago + 0.2,
        ended_at=NOW - 20 if ended else None,
        queue_position=1 if state is TaskState.QUEUED else None,
        predicted_start_ms=4200 if state is TaskState.QUEUED else None,
        on_time_probability=0.93,
        max_tokens=512,
        worker_id=worker,
        session_id={"task-9d2w": "roadmap", "task-t1ke": "bedtime"}.get(id),
        waiting_for="a free slot of llama-3.1-8b" if state is TaskState.QUEUED else None,
        finish_reason="stop" if state is TaskState.DONE else None,
        error={"code": "CONTEXT_LENGTH_EXCEEDED", "message": "9120 tokens, 8192 fit"}
        if state is TaskState.FAILED
        else None,
        timings=Timings(
            queue_ms=210,
            first_token_ms=None if state is TaskState.QUEUED else 340,
            total_ms=int((ago - 20) * 1000) if ended else None,
            tokens_in=48,
            tokens_out=out,
            tokens_cached=32,
        ),
    )


def _tasks() -> list[TaskInfo]:
    running = TaskState.RUNNING
    return [
        _task("task-9d2w", running, "qwen2.5-14b", worker="w-7f3k", ago=9, out=131),
        _task("task-c7ma", running, "qwen2.5-14b", worker="w-7f3k", ago=6, out=104),
        _task("task-q0r5", running, "llama-3.1-8b", worker="w-2m9c", ago=4, out=88),
        _task("task-j3vn", TaskState.QUEUED, "llama-3.1-8b", ago=2),
        _task("task-t1ke", TaskState.DONE, "smollm2-135m", worker="w-h5tz", ago=61, out=212),
        _task("task-e8xp", TaskState.FAILED, "llama-3.1-8b", ago=75),
        _task("task-m4sd", TaskState.CANCELLED, "qwen2.5-14b", worker="w-7f3k", ago=90, out=17),
    ]


def _model(id: str, architecture: str, quantization: str, size: float, layers: int) -> CatalogModel:
    return CatalogModel(
        id=id,
        sources=[Source(kind="hf", location=f"demo/{id}-GGUF", file=f"{id}-{quantization}.gguf")],
        size=int(size * GIB),
        sha256="a1" * 32,
        license="apache-2.0",
        facts=GgufFacts(
            architecture=architecture,
            quantization=quantization,
            size=int(size * GIB),
            layers=layers,
            embedding_length=4096,
            feed_forward_length=14336,
            heads=32,
            heads_kv=8,
            key_length=128,
            value_length=128,
            vocab_size=128_256,
            context_length=32768,
        ),
        builtin=id == "smollm2-135m",
    )


def _models() -> list[CatalogModel]:
    return [
        _model("qwen2.5-14b", "qwen2", "Q6_K", 11.3, 48),
        _model("llama-3.1-8b", "llama", "Q5_K_M", 5.3, 32),
        _model("smollm2-135m", "llama", "Q4_1", 0.09, 30),
        _model("mistral-small-24b", "llama", "Q4_K_M", 13.3, 40),
    ]


_TOLD: Final = (
    (-412, "info", "queen", "the queen is up, version 0.1.0", None, None),
    (-400, "info", "hive", "atelier is online with 2 GPUs", "node", "atelier"),
    (-398, "info", "hive", "cellar is online with 1 GPU", "node", "cellar"),
    (
        -171,
        "info",
        "queen",
        "qwen2.5-14b is ready on atelier after 6.1 s",
        "worker",
        "w-7f3k",
    ),
    (-90, "info", "queen", "task-m4sd was cancelled after 17 tokens", "task", "task-m4sd"),
    (-75, "error", "queen", "task-e8xp: it has 9120 tokens, 8192 fit", "task", "task-e8xp"),
    (-31, "warning", "hive", "w-b81q crashed: out of memory; restart in 8 s", "worker", "w-b81q"),
    (-14, "info", "queen", "one more worker of llama-3.1-8b loads on cellar", "worker", "w-x04d"),
    (-2, "warning", "queen", "task-j3vn waits: no free slot of llama-3.1-8b", "task", "task-j3vn"),
)


def _snapshot() -> FleetSnapshot:
    narration = [
        Narration(
            seq=100 + at, at=NOW + when, level=level, actor=actor, text=text, noun=noun, id=about
        )
        for at, (when, level, actor, text, noun, about) in enumerate(_TOLD)
    ]
    return FleetSnapshot(
        seq=108,
        at=NOW,
        queen=QueenInfo(
            version="0.1.0",
            started_at=NOW - 412,
            epoch="demo",
            queue_depth=1,
            queue_limit=256,
            running=3,
            policy="affinity",
        ),
        nodes=[_node("atelier"), _node("cellar", NodeState.SUSPECT, seen=4.0), _node("laptop")],
        workers=_workers(),
        tasks=_tasks(),
        models=_models(),
        deployments=[
            Deployment(id="dep-1", model=_QWEN, node_id="atelier", worker_ids=["w-7f3k"]),
            Deployment(
                id="dep-2", model="llama-3.1-8b", replicas=2, worker_ids=["w-2m9c", "w-x04d"]
            ),
        ],
        pulls=[
            PullProgress(
                model="mistral-small-24b",
                phase="download",
                source="hf:demo/mistral-small-24b-GGUF",
                done=int(8.2 * GIB),
                total=int(13.3 * GIB),
                bytes_per_s=94_000_000.0,
            )
        ],
        narration=narration,
    )


_WAVE: Final = (0.1, 0.3, 0.55, 0.7, 0.9, 1.0, 0.95, 0.8, 0.85, 0.6, 0.75, 0.5)


def _telemetry(node: NodeInfo, second: int, at: float) -> Telemetry | None:
    """One second of a host; a suspect one fell silent four seconds ago."""
    if node.state is NodeState.SUSPECT and second > 55:
        return None
    wave = _WAVE[(second + len(node.id)) % len(_WAVE)]
    last = second == 59 or (node.state is NodeState.SUSPECT and second == 55)
    devices = [
        device
        if last
        else device.model_copy(update={"utilization": round((device.utilization or 0) * wave, 3)})
        for device in node.devices
    ]
    gauges = [
        WorkerGauge(
            id=w.id,
            slots_busy=w.slots_busy,
            tokens_per_s=round(w.tokens_per_s * (1.0 if last else wave), 1),
            kv_usage=w.kv_usage,
            memory_bytes=w.memory_bytes,
        )
        for w in _workers()
        if w.node_id == node.id and w.state is WorkerState.READY
    ]
    return Telemetry(node_id=node.id, at=at, devices=devices, workers=gauges, load_1m=3.2)


def _tap() -> TapChunk:
    parts = (
        ("task-9d2w", "qwen2.5-14b", "w-7f3k", 131, 45.1, PLAN),
        ("task-c7ma", "qwen2.5-14b", "w-7f3k", 104, 43.3, CODE),
        ("task-q0r5", "llama-3.1-8b", "w-2m9c", 88, 61.2, POEM),
    )
    return TapChunk(
        at=NOW,
        streams=[
            TapStream(
                job_id=job, model=model, worker_id=worker, tokens_out=out, tokens_per_s=speed,
                text=text,
            )
            for job, model, worker, out, speed, text in parts
        ],
    )  # fmt: skip
