"""Which device a worker gets, what it is refused with, and what its process sees of the host."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.workers import SpawnRequest
from rbee_agent.errors import Refused
from rbee_agent.hive.backends import Backends, choose
from rbee_agent.hive.child_env import environment, worker_device
from rbee_agent.hive.records import WorkerRecord


def device(name: str, free: int, *, uuid: str | None = None, error: str | None = None) -> Device:
    return Device(
        id=name,
        backend=name.partition(":")[0],
        name=f"a {name}",
        uuid=uuid,
        memory_total=100,
        memory_used=100 - free,
        memory_free=free,
        error=error,
    )


HOST = [
    device("cpu", 90),
    device("cuda:0", 10, uuid="GPU-a"),
    device("cuda:1", 20, uuid="GPU-b"),
    device("rocm:0", 30, uuid="GPU-c"),
]
ALL = Backends(("cpu", "cuda", "rocm"), "1")


def pick(built: Backends = ALL, *, backend: str | None = None, name: str | None = None) -> Device:
    return choose(built, HOST, backend=backend, device=name)


@pytest.mark.parametrize(
    ("backend", "name", "chosen"),
    [
        (None, None, "rocm:0"),
        ("cuda", None, "cuda:1"),
        ("cuda", "0", "cuda:0"),
        ("cuda", "GPU-a", "cuda:0"),
        (None, "cuda:0", "cuda:0"),
        (None, "GPU-b", "cuda:1"),
        ("cpu", None, "cpu"),
        (None, "cpu", "cpu"),
        ("rocm", "0", "rocm:0"),
    ],
)
def test_a_wish_is_met_exactly(backend: str | None, name: str | None, chosen: str) -> None:
    """By backend, index, id or UUID; without a wish the GPU with most room."""
    found = pick(backend=backend, name=name)
    assert chosen == found.id


def test_cuda_is_never_the_cpu_in_silence() -> None:
    """Asked for cuda where llama.cpp has none: refused with what there is."""
    with pytest.raises(Refused) as refusal:
        pick(Backends(("cpu",), "1"), backend="cuda")

    assert refusal.value.code == "BACKEND_UNAVAILABLE"
    for word in ("cuda", "built for cpu", "cpu (a cpu)", "cuda:1 (a cuda:1)"):
        assert word in refusal.value.message


@pytest.mark.parametrize("name", ["7", "GPU-x", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    """The number or UUID is named, and so are the devices of this host."""
    with pytest.raises(Refused, match=rf"no usable device {name}.*cuda:0 \(a cuda:0\)"):
        pick(backend="cuda", name=name)


def test_a_broken_gpu_is_not_chosen_and_its_reason_told() -> None:
    """A GPU that fell off the bus: no worker for it, and the driver's words in the refusal."""
    host = [device("cpu", 90), device("cuda:0", 0, error="GPU is lost")]

    with pytest.raises(Refused, match=r"cuda:0 .*GPU is lost"):
        choose(ALL, host, backend="cuda", device=None)
    assert choose(ALL, host, backend=None, device=None).id == "cpu"


def test_vulkan_computes_on_either_maker_s_cards() -> None:
    """A build for vulkan alone uses what is there, under its own name."""
    found = choose(Backends(("cpu", "vulkan"), "1"), HOST, backend="vulkan", device="cuda:0")

    assert (found.id, found.backend) == ("cuda:0", "vulkan")
    both = Backends(("cpu", "cuda", "vulkan"), "1")
    assert choose(both, HOST, backend=None, device="cuda:0").backend == "cuda"


def test_no_engine_no_worker() -> None:
    """The reason that the probe gave is the refusal."""
    with pytest.raises(Refused, match="llama-cpp-python is not installed"):
        pick(Backends(problem="llama-cpp-python is not installed"))


def record(backend: str, name: str, uuid: str | None = None) -> WorkerRecord:
    return WorkerRecord(
        id="w",
        node_id="n",
        request=SpawnRequest(model="m"),
        model="m",
        path="/m",
        fingerprint="f",
        token="worker-token",
        backend=backend,
        device=name,
        device_uuid=uuid,
        context=512,
        slots=1,
        started_at=0.0,
    )


BASE = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "GGML_X": "1",
    "CUDA_VISIBLE_DEVICES": "3",
    "HF_TOKEN": "hf_secret",
    "RBEE_QUEEN_TOKEN": "secret",
    "AWS_SECRET": "secret",
}


@pytest.mark.parametrize(
    ("made", "sees", "calls_it"),
    [
        (record("cuda", "cuda:1", "GPU-b"), {"CUDA_VISIBLE_DEVICES": "GPU-b"}, "cuda:0"),
        (record("cuda", "cuda:1"), {"CUDA_VISIBLE_DEVICES": "1"}, "cuda:0"),
        (record("rocm", "rocm:0", "GPU-c"), {"ROCR_VISIBLE_DEVICES": "GPU-c"}, "rocm:0"),
        (record("vulkan", "cuda:1", "GPU-b"), {"GGML_VK_VISIBLE_DEVICES": "1"}, "vulkan:0"),
        (record("cpu", "cpu"), {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"}, "cpu"),
    ],
)
def test_a_worker_sees_its_own_device_only(
    made: WorkerRecord, sees: dict[str, str], calls_it: str
) -> None:
    """By UUID, in PCI order, whatever the hive itself was given; a CPU worker sees no GPU."""
    env = environment(made, BASE, callback_token="callback-token")

    assert sees.items() <= env.items()
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert calls_it == worker_device(made)


def test_no_secret_of_the_hive_reaches_a_worker() -> None:
    """Its own two tokens, the ways to its libraries, and nothing else."""
    env = environment(record("cpu", "cpu"), BASE, callback_token="callback-token")

    assert "secret" not in " ".join(env.values())
    assert (env["RBEE_WORKER_TOKEN"], env["RBEE_CALLBACK_TOKEN"]) == (
        "worker-token",
        "callback-token",
    )
    assert (env["PATH"], env["GGML_X"], env["RBEE_NODE_ID"]) == ("/bin", "1", "n")
