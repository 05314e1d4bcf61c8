"""What a worker's tasks cost is summed over those that began to answer."""

from __future__ import annotations

from rbee_agent.contracts.tasks import TaskInfo, TaskState, Timings
from rbee_tui.state.served import Served, served


def task(worker: str | None, first: int | None, *, read: int = 0, cached: int = 0) -> TaskInfo:
    return TaskInfo(
        job_id="t", model="m", created_at=1.0, state=TaskState.DONE, worker_id=worker,
        timings=Timings(first_token_ms=first, tokens_in=read, tokens_cached=cached),
    )  # fmt: skip


def test_each_worker_has_its_own_mean_and_share() -> None:
    """Means and shares are by worker; a task that never answered counts for nobody."""
    found = served(
        [task("a", 100, read=10, cached=5), task("a", 300, read=30), task("b", 7), task("a", None),
         task(None, 5)]
    )  # fmt: skip

    assert set(found) == {"a", "b"}
    assert found["a"].mean_first_token_ms == 200
    assert found["a"].cached_share == 5 / 40
    assert found["b"].cached_share is None
    assert Served().mean_first_token_ms is None
