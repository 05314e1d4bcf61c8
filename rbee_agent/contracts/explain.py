"""Why a task ran where it ran, or why it waits."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.pools import Deployment
from rbee_agent.contracts.tasks import TaskInfo


class Explanation(Contract):
    """``GET /v2/tasks/{id}/explain``."""

    task: TaskInfo
    decision: dict[str, Any] | None = None
    """Strategy, reason, and every candidate with its filter result or its score."""
    deployments: list[Deployment] = []
    """Wishes for the model, while the task waits."""
    text: str = ""
    """The same for a person."""
