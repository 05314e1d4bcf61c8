"""The environment of a worker process: what it needs, and only the one device it may use. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from rbee_agent.hive.records import WorkerRecord

NODE_ENV = "RBEE_NODE_ID"
_PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
_PASSED_PREFIXES = ("XDG_", "GGML_", "OMP_", "HSA_", "ROCM_", "VK_")


def environment(
    record: WorkerRecord, base: Mapping[str, str], *, callback_token: str
) -> dict[str, str]:
    """What a worker of `record` gets of the hive's own environment `base`, and its secrets."""
    env = {
        name: value
        for name, value in base.items()
        if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
    }
    return (
        env
        | _one_device(record)
        | {
            "RBEE_WORKER_TOKEN": record.token,
            "RBEE_CALLBACK_TOKEN": callback_token,
            "RBEE_MODEL_ID": record.model,
            NODE_ENV: record.node_id,
        }
    )


def worker_device(record: WorkerRecord) -> str:
    """The device as the worker calls it: the only one that its environment shows it."""
    return "cpu" if record.backend == "cpu" else f"{record.backend}:0"


def _one_device(record: WorkerRecord) -> dict[str, str]:
    """Variables that leave a process one GPU, by UUID where it has one, or none at all.

    An index may name another GPU after one has fallen off the bus; a UUID never does.
    """
    index = record.device.partition(":")[2]
    match record.backend:
        case "cuda":
            chosen = {"CUDA_VISIBLE_DEVICES": record.device_uuid or index}
        case "rocm":
            chosen = {"ROCR_VISIBLE_DEVICES": record.device_uuid or index}
        case "vulkan":
            chosen = {"GGML_VK_VISIBLE_DEVICES": index}
        case "metal":
            chosen = {}
        case _:
            # A build for CUDA takes large batches to a GPU even where no layer lies on it.
            chosen = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **chosen}
