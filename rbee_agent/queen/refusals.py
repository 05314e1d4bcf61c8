"""What was refused lately, so that it can be asked why: in memory, bounded, no prompt."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from rbee_agent.errors import RbeeError
from rbee_agent.queen.placement import Decision, as_data

KEPT = 256


@dataclass(frozen=True, slots=True)
class Refusal:
    """One task that was not taken in."""

    job_id: str
    owner: str
    model: str
    at: float
    error: RbeeError
    waiting: int
    """Tasks that waited at that moment."""
    running: int
    decision: Decision | None
    """What placement would have said; None where the refusal has nothing to do with workers."""

    def data(self) -> dict[str, Any]:
        """What ``explain`` shows."""
        return {
            "task": {
                "job_id": self.job_id,
                "state": "refused",
                "model": self.model,
                "created_at": self.at,
                "error": self.error.body(),
            },
            "queue": {"waiting": self.waiting, "running": self.running},
            "decision": None if self.decision is None else as_data(self.decision),
        }


class Refusals:
    """The last `KEPT` refusals by task id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Refusal] = OrderedDict()

    def keep(self, refusal: Refusal) -> None:
        """Remember one, and forget the oldest."""
        self._kept[refusal.job_id] = refusal
        self._kept.move_to_end(refusal.job_id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def find(self, job_id: str) -> Refusal | None:
        """The refusal of a task, if it is remembered still."""
        return self._kept.get(job_id)

    def forget(self, job_id: str) -> None:
        """The same task was handed in again and taken."""
        self._kept.pop(job_id, None)
