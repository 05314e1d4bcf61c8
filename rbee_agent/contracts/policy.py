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


class PolicyDecision(Contract):
    """What a script would have decided for one task of a recorded snapshot."""

    job_id: str
    model: str
    refused: str | None = None
    """Why it would not have come in."""
    worker_id: str | None = None
    """Where it would run; None: nobody could take it now."""
    built_in: str | None = None
    """Where the built-in policy would have it."""
    before: str | None = None
    """Where the snapshot has it."""
    problem: str | None = None
    """What failed in the script; the built-in policy decided then."""


class PolicyTrial(Contract):
    """``POST /v2/policy/check``: what a script would answer."""

    hooks: list[str] = []
    answers: dict[str, Any] = {}
    """Of each hook, to an example task on the fleet as it is."""
    decisions: list[PolicyDecision] = []
    """One for each task that ran or waited in the snapshot that came with the script."""
