"""Trials of a policy script: on the fleet as it is, and on a recorded snapshot of any fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rbee_agent.contracts.events import FleetSnapshot
from rbee_agent.contracts.nodes import NodeInfo
from rbee_agent.contracts.policy import PolicyDecision
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.errors import InvalidParams
from rbee_agent.queen.placement import ModelIndex, Need, WorkerView, decide, usable_workers
from rbee_agent.queen.policy_data import fleet_data, worker_data
from rbee_agent.queen.policy_process import LOAD_S, Helper, PolicyFailed

MOST_TASKS = 256
"""So many tasks of a snapshot are asked about."""
EXAMPLE = WorkerView("example-worker", "example-node", "example-pool", "example", "ready", 4, 1)
EXAMPLE_TASK: dict[str, Any] = {
    "id": "example-task",
    "model": "example",
    "workload": "completion",
    "priority": "interactive",
    "session": None,
    "owner": "example",
    "strict": False,
    "max_tokens": 100,
    "deadline_ms": None,
}


async def ask_once(helper: Helper, workers: Sequence[WorkerView]) -> dict[str, Any]:
    """What each hook answers to an example task on these workers (or an example of one).

    Raises:
        InvalidParams: a hook fails.
    """
    views = list(workers) or [EXAMPLE]
    task = dict(EXAMPLE_TASK, model=views[0].model)
    data = worker_data(views, Need(views[0].model))
    fleet = fleet_data(ModelIndex(views), waiting=0, running=0)
    calls: dict[str, tuple[Any, ...]] = {
        "admit": (task, fleet),
        "place": (task, data, fleet),
        "evict": (data, 1024**3),
    }
    said: dict[str, Any] = {}
    for hook in helper.script.hooks:
        try:
            # No task waits for a trial: the CPU limit alone decides.
            said[hook] = await helper.call(hook, *calls[hook], seconds=LOAD_S)
        except PolicyFailed as failed:
            raise refused_script(f"{hook}: {failed}") from failed
    return said


async def replay(helper: Helper, snapshot: FleetSnapshot) -> list[PolicyDecision]:
    """What a script would have decided for each task that ran or waited in a snapshot.

    Each task is judged by itself: the others are where the snapshot has them. A hook that fails is
    told with its task; the rest goes on.
    """
    open_tasks = [task for task in snapshot.tasks if not task.state.final][:MOST_TASKS]
    nodes = {node.id: node for node in snapshot.nodes}
    views = [_view(worker, nodes.get(worker.node_id or "")) for worker in snapshot.workers]
    waiting = sum(task.state is TaskState.QUEUED for task in open_tasks)
    made = []
    for task in open_tasks:
        index = ModelIndex(
            # Its own slot is free for it again.
            replace(view, busy=max(0, view.busy - 1)) if view.id == task.worker_id else view
            for view in views
            if view.model == task.model
        )
        fleet = fleet_data(index, waiting=waiting, running=len(open_tasks) - waiting)
        made.append(await _decision(helper, task, index, fleet))
    return made


def refused_script(message: str) -> InvalidParams:
    """The refusal of a script, with its reason."""
    return InvalidParams([{"field": "source", "constraint": "policy", "message": message}])


async def _decision(
    helper: Helper, task: TaskInfo, index: ModelIndex, fleet: dict[str, Any]
) -> PolicyDecision:
    need = Need(task.model)
    usable = usable_workers(index, need)
    data = _task_data(task)
    calls: dict[str, tuple[Any, ...]] = {"admit": (data, fleet)}
    if usable:
        calls["place"] = (data, worker_data(usable, need), fleet)
    said: dict[str, Any] = {}
    problem = None
    for hook in [name for name in helper.script.hooks if name in calls]:
        try:
            said[hook] = await helper.call(hook, *calls[hook], seconds=LOAD_S)
        except PolicyFailed as failed:
            problem = f"{hook}: {failed}"
    built_in = decide(index, need).worker_id
    chosen = said.get("place")
    if chosen is not None and not any(view.id == chosen for view in usable):
        problem, chosen = "place: it named a worker that may not take the task", None
    admitted = said.get("admit")
    refusal = admitted if isinstance(admitted, str) else "it refused" if admitted is False else None
    return PolicyDecision(
        job_id=task.job_id,
        model=task.model,
        refused=refusal,
        worker_id=built_in if chosen is None else str(chosen),
        built_in=built_in,
        before=task.worker_id,
        problem=problem,
    )


def _task_data(task: TaskInfo) -> dict[str, Any]:
    """A recorded task as a script sees it; whose it was is in no snapshot."""
    return {
        "id": task.job_id,
        "model": task.model,
        "workload": task.workload,
        "priority": task.priority,
        "session": task.session_id,
        "owner": None,
        "strict": task.strict,
        "max_tokens": task.max_tokens,
        "deadline_ms": task.deadline_ms,
    }


def _view(worker: WorkerInfo, node: NodeInfo | None) -> WorkerView:
    """A recorded worker as placement sees it."""
    devices = node.devices if node is not None else []
    device = next((item for item in devices if item.id == worker.device), None)
    return WorkerView(
        id=worker.id,
        node_id=worker.node_id or "",
        pool_id=worker.pool_id or "",
        model=worker.model,
        state=worker.state.value,
        slots=worker.slots,
        busy=worker.slots_busy,
        tokens_per_s=worker.tokens_per_s,
        context=worker.context,
        backend=worker.backend,
        device=worker.device,
        region=node.region if node is not None else None,
        fingerprint=worker.fingerprint,
        profile=worker.profile.id if worker.profile is not None else None,
        memory_free=device.memory_free if device is not None else 0,
        memory_total=device.memory_total if device is not None else 0,
        node_state=node.state.value if node is not None else "online",
        labels=tuple(node.labels.items()) if node is not None else (),
    )
