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
    made.add_argument("--device", default="cpu", help="cpu, cuda:N, metal, vulkan:N")
    made.add_argument("--ctx", type=int, help="context in tokens per slot")
    made.add_argument("--slots", type=int, default=4, help="sequences decoded together")
    made.add_argument("--threads", type=int, help="CPU threads (default: physical cores)")
    made.add_argument("--prefill-chunk", type=int, default=64, help="tokens per prefill step")
    made.add_argument("--kv-type", default="f16", help="f16, q8_0, q4_0, f32")
    made.add_argument("--flash-attention", action="store_true")
    made.add_argument("--chat-template", type=Path, help="a Jinja file instead of the GGUF's own")
    made.add_argument("--state-dir", type=Path, help="where exactness proofs are kept")
    made.add_argument("--log-level", default="info")
    return made
