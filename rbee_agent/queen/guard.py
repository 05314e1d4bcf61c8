"""One job's bug must not end the queen: it is logged with its trace, and the rest goes on."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from rbee_agent.observe import logs


async def guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work`; an exception is logged and ends it, never the task group around it."""
    try:
        await work
    except Exception:
        logs.get("queen").exception("a job failed", job=name)
