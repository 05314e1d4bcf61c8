"""Sessions: turns that belong together, and what they may spend."""

from __future__ import annotations

from rbee_agent.contracts.base import Contract


class SessionInfo(Contract):
    """``GET /v2/sessions/{id}``. Metadata only: no turn is kept."""

    session_id: str
    ttl_ms: int
    """Milliseconds until it is forgotten, unless it is used before."""
    turns: int = 0
    kv_warmth: float = 0.0
    """1.0 where a worker still holds its cache."""
    worker_id: str | None = None
    tokens_used: int = 0
    time_used_ms: int = 0
    tokens_budget_remaining: int | None = None
    time_budget_remaining_ms: int | None = None
