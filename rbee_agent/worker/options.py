"""The worker's command line, and what it becomes."""

from __future__ import annotations

import argparse
from pathlib import Path

from rbee_agent import __version__
from rbee_agent.contracts.routes import WORKER_PORT_FIRST

TOKEN_ENV = "RBEE_WORKER_TOKEN"  # noqa: S105 - the name of a variable, not its value
CALLBACK_TOKEN_ENV = "RBEE_CALLBACK_TOKEN"  # noqa: S105 - likewise
MODEL_ID_ENV = "RBEE_MODEL_ID"


def parser() -> argparse.ArgumentParser:
    """The options of ``llm-worker-rbee``."""
    made = argparse.ArgumentParser(
        prog="llm-worker-rbee",
        description="One process, one model, one HTTP server. Started by a hive; may be killed "
        "at any time. Its bearer token comes in the environment variable RBEE_WORKER_TOKEN.",
    )
    made.add_argument("--version", action="version", version=f"rbee {__version__}")
    made.add_argument("--probe", action="store_true", help="print the backends as JSON and exit")
    made.add_argument("--worker-id", default="worker", help="its name at the hive")
    made.add_argument("--model", type=Path, help="a GGUF file")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=WORKER_PORT_FIRST, help="0: any free one")
    made.add_argument("--callback-url", help="told by POST when the model is ready")
    made.add_argument(
        "--device", default="cpu", help="cpu, cuda:N or cuda:UUID, rocm:N, metal, vulkan:N"
    )
    made.add_argument("--ctx", type=int, help="context in tokens per slot")
    made.add_argument("--slots", type=int, default=4, help="sequences decoded together")
    made.add_argument("--threads", type=int, help="CPU threads (default: physical cores)")
    made.add_argument(
        "--prefill-chunk", type=int, help="tokens per prefill step (default: 64 on a CPU, else 512)"
    )
    made.add_argument(
        "--kv-type", default="f16", help="f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, f32"
    )
    made.add_argument("--flash-attention", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--gpu-layers", type=int, help="layers on the GPU (default: all)")
    made.add_argument(
        "--tensor-split", type=_parts, default=(), help="parts for each GPU of that kind, as 3,1"
    )
    made.add_argument(
        "--host-cache-mib", type=int, default=512, help="host memory for KV states of old prompts"
    )
    made.add_argument(
        "--chat-template", help="instead of the GGUF's own: a built-in name, or a Jinja file"
    )
    made.add_argument("--state-dir", type=Path, help="where exactness proofs are kept")
    made.add_argument("--log-level", default="info")
    return made


def _parts(text: str) -> tuple[float, ...]:
    """``3,1`` as numbers; argparse says what is wrong with others."""
    return tuple(float(part) for part in text.split(","))
