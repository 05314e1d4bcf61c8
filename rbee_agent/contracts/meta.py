"""What the queen tells of herself."""

from __future__ import annotations

from rbee_agent.contracts.base import Contract


class QueenHealth(Contract):
    """``GET /health``."""

    status: str
    """``ok``, or ``starting`` until what was left over is recovered."""
    version: str
    protocol: int = 0
    uptime_s: float = 0.0
    queue_depth: int = 0
    running: int = 0
    nodes: int = 0
    workers: int = 0


class QueenVersion(Contract):
    """``GET /v2/meta/version``."""

    version: str
    protocol: int
    oldest_protocol: int = 0
    api: str = "v2"


class Capabilities(Contract):
    """``GET /v2/meta/capabilities``: what this queen can do."""

    version: str
    workloads: list[str] = []
    priorities: list[str] = []
    response_formats: list[str] = []
    determinism: list[str] = []
    strategies: list[str] = []
    strategy: str = ""
    backends: list[str] = []
    max_stop: int = 0
    queue_limit: int = 0
    queue_policy: str = ""
    resume: bool = False
    features: list[str] = []
