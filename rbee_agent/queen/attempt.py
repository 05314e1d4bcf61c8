"""One attempt of one task on one worker: what is asked of it, the relay, and how it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from rbee_agent.adapters.base import Adapter, Target
from rbee_agent.contracts.workers import ExecuteRequest, WorkerHealth
from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.relay import PROBE_S, Broken, Relay
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.secret import Secret

_MOVES = frozenset({"POOL_UNREADY", "BAD_TOKEN", "MISSING_TOKEN"})
"""Refusals that are the worker's trouble and not the task's."""
STORE_PAUSE_S = 1.0
"""Pause before a stream goes on whose journal could not be written."""


class Attempts:
    """Runs tasks on workers; holds nothing of its own."""

    def __init__(
        self, tasks: Tasks, registry: Registry, adapters: Mapping[str, Adapter], clock: Clock
    ) -> None:
        self.distance: Callable[[str], float] = _at_hand
        """Seconds to a node and back."""
        self._tasks = tasks
        self._registry = registry
        self._adapters = adapters
        self._clock = clock

    async def run(
        self, task: Task, worker: Worker, elsewhere: Callable[[], bool]
    ) -> dict[str, Any]:
        """Run a task on a worker until the worker's ``end``, which is returned.

        Args:
            task: it goes on behind what its journal holds.
            worker: who has a slot reserved for it.
            elsewhere: whether another worker could take it over now.

        Raises:
            Broken: the attempt is over, and another worker may take the task.
            RbeeError: the task is at its end with this error.
        """
        task.lost_reason = None
        adapter, target = self.reach(worker)
        relay = Relay(
            task,
            self._clock.monotonic,
            {
                "type": "origin",
                "worker_id": worker.info.id,
                "started_at": task.started_at,
                "resumed": task.resumed,
                "fingerprint": worker.info.fingerprint,
                "profile": worker.info.profile.id if worker.info.profile else None,
            },
            on_first_token=lambda: self._tasks.first_token(task),
            elsewhere=elsewhere,
            distance=lambda: self.distance(worker.node_id),
        )
        if not task.has_output:
            task.fingerprint = relay.origin["fingerprint"]
            task.profile = relay.origin["profile"]
        request = self._execute_request(task)

        async def probe() -> WorkerHealth:
            return await adapter.health(target, timeout=PROBE_S + 2 * relay.distance())

        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(relay.watch(probe))
                try:
                    async with adapter.execute(target, request) as events:
                        return await relay.pump(events)
                finally:
                    watching.cancel()
        except ExceptionGroup as group:
            raise _verdict(group) from None

    def reach(self, worker: Worker) -> tuple[Adapter, Target]:
        """Who speaks to a worker, and where it is."""
        token = worker.info.token
        node = self._registry.nodes.get(worker.node_id)
        target = Target(
            worker.info.url or "",
            Secret(token) if token else None,
            worker.info.model,
            node.registration.certificate if node is not None else None,
        )
        return self._adapters[worker.kind], target

    def _execute_request(self, task: Task) -> ExecuteRequest:
        request = task.request
        left = None
        if task.deadline is not None:
            left = max(1, round((task.deadline - self._clock.monotonic()) * 1000))
        ids = task.journal.token_ids() if task.has_output else []
        return ExecuteRequest.model_construct(
            job_id=task.job_id,
            workload=request.workload,
            prompt=request.prompt,
            messages=request.messages,
            inputs=request.inputs,
            query=request.query,
            max_tokens=self._tasks.sessions.token_limit(task),
            sampling=request.sampling(),
            stop=request.stop,
            strict=request.strict,
            kv_hint=request.kv_hint,
            response_format=request.response_format,
            grammar=request.grammar,
            tools=request.tools,
            tool_choice=request.tool_choice,
            chat_template_kwargs=request.chat_template_kwargs,
            thinking=request.thinking,
            reasoning_effort=request.reasoning_effort,
            resume_token_ids=ids,
            deadline_ms=left,
        )


def _at_hand(_: str) -> float:
    return 0.0


def _verdict(group: BaseExceptionGroup[Any]) -> BaseException:
    """What the failure of an attempt means: another worker's turn, or the end of the task."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Unreachable):
        return Broken(error.message)
    if isinstance(error, RbeeError) and error.code == "STORE_UNAVAILABLE":
        # It is our own disk: no worker is to blame, and no attempt is used up.
        return Broken(error.message, blame=False, counts=False, pause_s=STORE_PAUSE_S)
    if isinstance(error, RbeeError) and error.code in _MOVES:
        return Broken(error.message)
    return error
