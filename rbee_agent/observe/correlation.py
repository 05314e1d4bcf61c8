"""The correlation id: made or taken at the edge, on every answer and every log line."""

from __future__ import annotations

import re
from contextvars import ContextVar

from rbee_agent.contracts.ids import new_id

current: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""The id of the request that the running code serves."""

_SOUND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def accept(offered: str | None) -> str:
    """The caller's own id where it is sound, else a new one."""
    if offered is not None and _SOUND.fullmatch(offered):
        return offered
    return new_id("corr")
