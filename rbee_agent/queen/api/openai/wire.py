"""Bytes of OpenAI's event streams."""

from __future__ import annotations

import json
from typing import Any

from rbee_agent.errors import RbeeError
from rbee_agent.queen.api.openai.refusals import error_body

DONE = b"data: [DONE]\n\n"


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def failed(error: RbeeError) -> bytes:
    """How a stream ends that failed: an error, and no `[DONE]`."""
    return f"data: {dumps(error_body(error))}\n\n".encode()
