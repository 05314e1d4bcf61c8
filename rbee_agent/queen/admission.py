"""Admission: may the task come in, what does it mean, and is it durable before we say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.contracts.ids import IdFactory
from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest, TaskState
from rbee_agent.errors import Conflict, NotFound, RbeeError, Unavailable
from rbee_agent.grammar import wanted
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.forecast import Forecast
from rbee_agent.queen.placement import Need, decide
from rbee_agent.queen.policy import Policy
from rbee_agent.queen.policy_data import fleet_data
from rbee_agent.queen.refusals import Refusal, Refusals
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.task import Task, body_of
from rbee_agent.queen.tasks import Tasks
from rbee_agent.runtime.clock import Clock
from rbee_agent.security.keys import Identity
from rbee_agent.settings.config import QueenSettings
from rbee_agent.store.base import Store
from rbee_agent.store.journal import Journals


@dataclass(slots=True)
class Admission:
    """The way in. One POST is one call of :meth:`submit`."""

    tasks: Tasks
    registry: Registry
    catalog: Catalog
    store: Store
    journals: Journals
    settings: QueenSettings
    clock: Clock
    new_id: IdFactory
    policy: Policy
    forecast: Forecast
    on_accepted: Callable[[Task], None]
    entering: int = 0
    """Tasks on their way to the disk: they count for the queue's limit."""
    refusals: Refusals = field(default_factory=Refusals)
    _turns: Turns = field(default_factory=lambda: Turns())

    async def submit(
        self, request: TaskRequest, who: Identity
    ) -> tuple[Task | None, Accepted, bool]:
        """Take a task in; it is durable when this returns.

        Args:
            request: what to do.
            who: the key that hands it in.

        Returns:
            The task (None where it has ended long ago), the answer, and whether it is new.

        Raises:
            RbeeError: with the code of the contract; nothing was accepted then.
        """
        body = body_of(request)
        task = self.tasks.find(request.task_id) if request.task_id is not None else None
        if task is not None:
            _same(task.body_sha256 == body[1] and who.may_read(task.owner), task.job_id)
            return task, self.answer(task), False
        job_id = request.task_id or self.new_id("task")
        try:
            if request.shaped:
                # A large schema takes its time: not on the loop.
                await asyncio.to_thread(_check_shape, request)
            model = self.catalog.resolve(request.model, who)
            task = self._task(request, model, body, who, job_id)
            await self.catalog.save()
            self._check(task, who)
            self._predict(task)
            if self.policy.has("admit"):
                await self.policy.admit(task, self._fleet(task.model))
            await self._make_room(task)
        except RbeeError as error:
            # A repeated POST of a task that has ended is answered, whatever holds for new ones.
            known = await self._stored(request.task_id, body[1], who)
            if known is not None:
                return None, known, False
            self._refused(job_id, who, error, task)
            raise
        self.refusals.forget(task.job_id)
        # The caller may hang up now: what is on its way to the disk is accepted all the same.
        if not await asyncio.shield(self.tasks.own(self._enter(task, who))):
            known = await self._stored(task.job_id, body[1], who)
            twin = self.tasks.find(task.job_id)
            if known is None:
                raise Unavailable("the task is being accepted; try again", retry_after_ms=100)
            return twin, self.answer(twin) if twin is not None else known, False
        return task, self.answer(task), True

    async def _enter(self, task: Task, who: Identity) -> bool:
        """Onto the disk and into the queue, both or neither; False where its id is taken."""
        self.entering += 1
        try:
            fresh = await self.store.add_task(task.record())
        except RbeeError as error:
            self._refused(task.job_id, who, error, task)
            raise
        finally:
            self.entering -= 1
        if fresh:
            self.tasks.accepted(task)
            self.on_accepted(task)
        return fresh

    def _refused(self, job_id: str, who: Identity, error: RbeeError, task: Task | None) -> None:
        """Count it, remember why, and tell the caller under which id it can be asked."""
        self.tasks.metrics.tasks_rejected.labels(error.code).inc()
        queue, decision = self.tasks.queue, None
        if task is not None:
            need = Need(task.model, task.request.placement)
            decision = decide(self.registry.index(task.model), need)
        self.refusals.keep(
            Refusal(
                job_id=job_id,
                owner=who.id,
                model="a model that is not known" if task is None else task.model,
                at=self.clock.utc(),
                error=error,
                waiting=queue.depth,
                running=queue.running,
                decision=decision,
            )
        )
        error.details = {**(error.details or {}), "task_id": job_id}

    def answer(self, task: Task) -> Accepted:
        """What the 202 says."""
        position = self.tasks.queue.position(task) if task.state is TaskState.QUEUED else None
        steps = []
        if task.state is TaskState.QUEUED and task.waiting_for is not None:
            steps.append({"kind": "wait", "text": task.waiting_for})
        return Accepted.model_construct(
            job_id=task.job_id,
            state=task.state,
            queue_position=position or 0,
            predicted_start_ms=task.predicted_start_ms,
            backoff_ms=0,
            streams=_streams(task.job_id),
            preparation={"steps": steps},
        )

    async def _stored(self, job_id: str | None, body: str, who: Identity) -> Accepted | None:
        """The answer for a task that only the store knows.

        Raises:
            Conflict: the id belongs to a task with another body, or of another key.
        """
        record = await self.store.task(job_id) if job_id is not None else None
        if record is None:
            return None
        _same(record.body_sha256 == body and who.may_read(record.owner), record.job_id)
        info = TaskInfo.read_json(record.info)
        return Accepted.model_construct(
            job_id=info.job_id,
            state=info.state,
            queue_position=0,
            predicted_start_ms=0,
            backoff_ms=0,
            streams=_streams(info.job_id),
            preparation={"steps": []},
        )

    def _check(self, task: Task, who: Identity) -> None:
        request, model = task.request, task.model
        if request.session_id is not None:
            self.tasks.sessions.check(request.session_id, who.id)
        pinned = request.placement.worker_id
        if (
            request.placement.mode == "pin"
            and pinned is not None
            and not request.placement.allow_fallback
            and pinned not in self.registry.workers
        ):
            raise NotFound("the task is pinned to a worker that is not there; `rbee worker ls`")
        facts = self.catalog.facts(model)
        limit = facts.context_length if facts is not None else 0
        if limit and request.max_tokens is not None and request.max_tokens > limit:
            raise RbeeError(
                f"max_tokens is {request.max_tokens}, but {model} has a context of {limit} tokens",
                code="CONTEXT_LENGTH_EXCEEDED",
                details={"max_tokens": request.max_tokens, "context": limit},
            )
        if not self.registry.nodes and self.registry.index(model) is None:
            raise Unavailable(
                f"no host is registered that could run {model}; add one with `rbee hive add`, "
                "or start this machine's with `rbee up`",
                code="POOL_UNAVAILABLE",
                retry_after_ms=5000,
            )

    def _task(
        self, request: TaskRequest, model: str, body: tuple[str, str], who: Identity, job_id: str
    ) -> Task:
        now = self.clock.monotonic()
        deadline = None if request.deadline_ms is None else now + request.deadline_ms / 1000
        budget = request.budget
        if budget is not None and budget.time_ms is not None and request.session_id is None:
            by_budget = now + budget.time_ms / 1000
            deadline = by_budget if deadline is None else min(deadline, by_budget)
        return Task(
            job_id=job_id,
            request=request,
            model=model,
            owner=who.id,
            created_at=self.clock.utc(),
            accepted=now,
            journal=self.journals.of(job_id),
            body=body[0],
            body_sha256=body[1],
            deadline=deadline,
        )

    def _fleet(self, model: str) -> dict[str, Any]:
        queue = self.tasks.queue
        return fleet_data(self.registry.index(model), waiting=queue.depth, running=queue.running)

    def _predict(self, task: Task) -> None:
        """Work out when it will start, and refuse what cannot be on time.

        Raises:
            RbeeError: DEADLINE_UNMET, with both numbers.
        """
        task.predicted_start_ms = start = self.forecast.start_ms(task)
        if start is None or task.request.deadline_ms is None:
            return
        if start > task.request.deadline_ms:
            raise RbeeError(
                f"it would start in about {start} ms, its deadline is in "
                f"{task.request.deadline_ms} ms",
                code="DEADLINE_UNMET",
                details={"predicted_start_ms": start, "deadline_ms": task.request.deadline_ms},
            )
        task.on_time_probability = self.forecast.on_time(task, task.accepted)

    async def _make_room(self, task: Task) -> None:
        """Refuse, or drop the oldest, when the queue is full.

        Raises:
            RbeeError: ADMISSION_REJECT, with when to try again.
        """
        limit = self.settings.queue_limit
        if self.tasks.queue.depth + self.entering < limit:
            return
        policy = self.settings.queue_policy
        self.tasks.metrics.backpressure.labels(policy).inc()
        step = self.forecast.place_s(task.model)
        wait = round(1000 * max(1.0, self._turns.wait_s(self.clock.monotonic(), step, limit)))
        oldest = self.tasks.queue.oldest() if policy == "drop-lru" else None
        if oldest is None:
            raise RbeeError(
                f"the queue is full ({limit}); try again in {wait / 1000:.0f} s",
                code="ADMISSION_REJECT",
                retry_after_ms=wait,
            )
        await self.tasks.fail(
            oldest,
            RbeeError(
                "the queue was full and this was its oldest task",
                code="QUEUE_FULL_DROP_LRU",
                retry_after_ms=wait,
            ),
        )


@dataclass(slots=True)
class Turns:
    """When refused callers should come back: each is told of a place that nobody else was."""

    _promised: float = 0.0

    def wait_s(self, now: float, step: float, places: int) -> float:
        """Seconds until the next place that is not promised yet comes free.

        Args:
            now: monotonic time.
            step: seconds in which one place comes free.
            places: of the whole queue; nobody is sent further away than that.
        """
        self._promised = min(max(self._promised, now) + step, now + step * places)
        return self._promised - now


def _check_shape(request: TaskRequest) -> None:
    wanted.check(
        response_format=request.response_format,
        grammar=request.grammar,
        tools=request.tools,
        tool_choice=request.tool_choice,
        has_messages=request.messages is not None,
    )


def _same(same: bool, job_id: str) -> None:
    if not same:
        raise Conflict(f"task {job_id} exists already with another body")


def events_path(job_id: str) -> str:
    """Where a task's frames are read."""
    return f"/v2/tasks/{job_id}/events"


def _streams(job_id: str) -> dict[str, str]:
    events = events_path(job_id)
    return {"sse": events, "sse_verbose": f"{events}?verbose=true"}
