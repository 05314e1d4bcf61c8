"""The last frame of a stream: the bill, or the error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rbee_agent.errors import RbeeError
from rbee_agent.queen.task import Task


def merge_end(task: Task, end: Mapping[str, Any]) -> str:
    """The worker's ``end`` as the caller gets it: the bill of the whole stream, not of its rest."""
    frame = {
        "type": "end",
        "tokens_in": task.tokens_in or int(end.get("tokens_in", 0)),
        "tokens_out": max(int(end.get("tokens_out", 0)), task.stream.last_index + 1),
        "tokens_cached": int(end.get("tokens_cached", 0)),
        "decode_time_ms": int(end.get("decode_time_ms", 0)),
        "prefill_time_ms": end.get("prefill_time_ms"),
        "first_token_ms": task.since(task.first_token),
        "finish_reason": end.get("finish_reason", "stop"),
        "stop_sequence": end.get("stop_sequence"),
        "resumed": task.resumed,
        "exact_profile": end.get("exact_profile"),
    }
    return json.dumps({k: v for k, v in frame.items() if v is not None}, separators=(",", ":"))


def error_frame(error: RbeeError) -> str:
    """The data of an ``error`` frame."""
    frame: dict[str, Any] = {"type": "error", **error.body()}
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
