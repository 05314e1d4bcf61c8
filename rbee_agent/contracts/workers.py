"""Workers: one process, one model; what it is asked, what it says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import Message, ResponseFormat, Sampling, ThinkingWish, ToolChoice

CHAT_TEMPLATES = (
    "chatml", "llama2", "llama3", "mistral", "gemma", "phi3", "zephyr", "vicuna", "command-r",
    "deepseek", "granite",
)  # fmt: skip
"""Built-in templates: names that ``--chat-template`` takes beside a file."""


class WorkerState(StrEnum):
    """A worker's life as its hive sees it."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    """Crashed; comes back at `restart_at`."""
    CRASH_LOOPING = "crash-looping"
    FAILED = "failed"
    STOPPED = "stopped"


class ExactProfile(Contract):
    """Within one profile strict streams are byte-exact; `id` is the hash of all the rest."""

    id: str
    fingerprint: str
    build: str
    device_kind: str
    threads: int
    flash_attention: bool
    kv_type: str
    prefill_chunk: int
    proved: list[str] = []
    """Shortcuts proved bit-equal under this profile, such as ``batch:8``."""


class ExecuteRequest(ThinkingWish):
    """The body of a worker's ``POST /execute``."""

    job_id: str
    workload: Literal["completion", "chat", "embedding", "rerank"] = "completion"
    prompt: str | None = None
    messages: list[Message] | None = None
    inputs: list[str] | None = None
    query: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    sampling: Sampling = Sampling()
    stop: list[str] = []
    strict: bool = False
    kv_hint: Literal["reuse", "cold"] = "reuse"
    response_format: ResponseFormat | None = None
    grammar: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of the chat template, such as ``enable_thinking``; messages only."""
    resume_token_ids: list[int] = []
    """Ids whose text the caller already has; the stream goes on behind them."""
    deadline_ms: int | None = None
    """Milliseconds from now that are left."""


class TemplateRequest(ThinkingWish):
    """The body of a worker's ``POST /apply-template``."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class SpawnRequest(Contract):
    """What a hive is asked to start. `model` must be on the host or pullable."""

    model: str
    worker_id: str | None = None
    backend: str | None = None
    """None: the best the host has; a name: that one or a refusal."""
    device: str | None = None
    """``cuda:1`` or a UUID; None: the device with most free memory."""
    context: int | None = Field(None, ge=64)
    """Tokens per slot."""
    slots: int | None = Field(None, ge=1, le=256)
    threads: int | None = Field(None, ge=1)
    extra: dict[str, str] = {}
    """Further worker options (``kv-type``, ``flash-attention`` …) as its command line has them."""


class WorkerInfo(Contract):
    """One worker as its hive reports it and the queen shows it."""

    id: str
    node_id: str | None = None
    pool_id: str | None = None
    model: str
    fingerprint: str | None = None
    state: WorkerState
    url: str | None = None
    """Reached by the queen only, never shown to clients."""
    token: str | None = None
    """The worker's bearer token, from its hive to the queen only."""
    pid: int | None = None
    incarnation: int = 1
    backend: str = "cpu"
    device: str = "cpu"
    context: int = 0
    slots: int = 0
    slots_busy: int = 0
    load_progress: float | None = None
    memory_bytes: int | None = None
    memory_estimate: int | None = None
    tokens_per_s: float = 0.0
    kv_usage: float | None = None
    tokens_out_total: int = 0
    started_at: float | None = None
    ready_at: float | None = None
    restart_at: float | None = None
    restarts: int = 0
    error: str | None = None
    last_log: list[str] = []
    profile: ExactProfile | None = None
    version: str | None = None


class WorkerHealth(Contract):
    """The answer of a worker's ``GET /health``; 503 until it is ready."""

    status: Literal["loading", "ready", "stopping", "failed"]
    worker_id: str
    model: str
    fingerprint: str | None = None
    load_progress: float = 0.0
    profile: ExactProfile | None = None
    slots: int = 0
    slots_busy: int = 0
    queued: int = 0
    context: int = 0
    device: str = "cpu"
    offload: str | None = None
    """``n/m layers``."""
    memory: dict[str, int] = {}
    """Bytes by use: weights, kv, compute."""
    kv_usage: float = 0.0
    step: int = 0
    tokens_out_total: int = 0
    tokens_per_s: float = 0.0
    uptime_s: float = 0.0
    version: str | None = None
    protocol: int | None = None
    error: str | None = None


class WorkerReady(Contract):
    """A worker's callback to its hive (or a static one's to the queen)."""

    worker_id: str
    url: str
    pid: int
    health: WorkerHealth
