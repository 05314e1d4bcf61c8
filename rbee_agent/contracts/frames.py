"""Frames: what a stream of events is made of, from worker to queen and from queen to caller.

A worker's token frame is written by hand in `wire.frames` with ``ids`` as its last member, so that
the queen can cut it off without decoding JSON: the token path validates nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from rbee_agent.contracts.base import Contract

FinishReason = Literal["stop", "length", "tool_calls"]
Phase = Literal["queued", "replay", "prefill", "decode"]


class QueuedFrame(Contract):
    """The task waits; sent again when its place changes."""

    type: Literal["queued"] = "queued"
    job_id: str
    queue_position: int
    predicted_start_ms: int | None = None
    reason: str | None = None


class StartedFrame(Contract):
    """A worker took the task."""

    type: Literal["started"] = "started"
    job_id: str
    worker_id: str
    model: str
    queue_position: int = 0
    predicted_start_ms: int | None = None


class TokenFrame(Contract):
    """Text as it is made; `t` is always whole UTF-8, `i` the index of its last token.

    `ids` (all token ids since the frame before) travels from worker to queen only.
    """

    type: Literal["token"] = "token"
    i: int
    t: str
    channel: Literal["content", "reasoning"] | None = None
    lp: list[dict[str, Any]] | None = None
    ids: list[int] | None = None


class ToolCallFrame(Contract):
    """A piece of the tool call number `index`; ids as in a token frame.

    The first piece of a call has its `id` and whole `name`; `arguments_delta` of all its pieces
    together is the JSON of its arguments. Where the same tokens made several pieces, or text too,
    the frame is ``{batch: [...]}`` of such pieces and of ``{t, channel?}``.
    """

    type: Literal["tool_call"] = "tool_call"
    i: int
    index: int
    id: str | None = None
    name: str | None = None
    arguments_delta: str = ""
    ids: list[int] | None = None


class ResultFrame(Contract):
    """What embedding and rerank answer in place of tokens."""

    type: Literal["result"] = "result"
    data: list[dict[str, Any]]


class MetricsFrame(Contract):
    """How it goes; interleaved, never durable."""

    type: Literal["metrics"] = "metrics"
    queue_depth: int | None = None
    on_time_probability: float | None = None
    kv_warmth: float | None = None
    tokens_per_s: float | None = None
    tokens_budget_remaining: int | None = None
    time_budget_remaining_ms: int | None = None
    prep: dict[str, Any] | None = None


class NarrationFrame(Contract):
    """What happens, in words; only with ``?verbose=true``."""

    type: Literal["narration"] = "narration"
    at: float
    actor: str
    text: str


class AcceptedFrame(Contract):
    """Worker to queen: the request is sound and has (or waits for) a slot."""

    type: Literal["accepted"] = "accepted"
    job_id: str
    tokens_in: int
    prompt_ids_sha256: str | None = None
    """Proof that two workers read the prompt alike."""


class PingFrame(Contract):
    """Worker to queen: the engine lives. `step` counts engine steps and must grow."""

    type: Literal["ping"] = "ping"
    step: int
    phase: Phase
    done: int = 0
    total: int = 0
    """Tokens read of those to read, while in prefill or replay."""


class EndFrame(Contract):
    """The good end of a stream, and its bill."""

    type: Literal["end"] = "end"
    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    decode_time_ms: int = 0
    queue_time_ms: int | None = None
    """Milliseconds at the worker without a slot."""
    prefill_time_ms: int | None = None
    first_token_ms: int | None = None
    finish_reason: FinishReason = "stop"
    stop_sequence: str | None = None
    """The stop string that ended it; None where something else did."""
    resumed: int = 0
    exact_profile: str | None = None


class ErrorFrame(Contract):
    """The bad end of a stream."""

    type: Literal["error"] = "error"
    code: str
    message: str
    retriable: bool = False
    retry_after_ms: int | None = None
    details: dict[str, Any] | None = None
