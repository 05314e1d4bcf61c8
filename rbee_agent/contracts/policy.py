"""The policy script as the API shows it."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.base import Contract


class PolicyScript(Contract):
    """A script that decides in the queen."""

    name: str
    source: str
    at: float
    """Unix seconds at which it was put in force."""
    hooks: list[str] = []


class PolicyInForce(Contract):
    """``GET /v2/policy``."""

    policy: PolicyScript | None = None
    """None: the built-in policy decides."""
    strategy: str = ""


class PolicyTrial(Contract):
    """``POST /v2/policy/check``: what a script would answer now."""

    hooks: list[str] = []
    answers: dict[str, Any] = {}
