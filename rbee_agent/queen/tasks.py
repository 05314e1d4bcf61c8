"""A task's life, step by step: what changes in memory, on the disk, in the feed and the metrics.

The queue owns the open tasks; here are the only functions that move one from state to state.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from rbee_agent.contracts.frames import NarrationFrame
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_agent.errors import NotFound, RbeeError, Unavailable
from rbee_agent.observe import logs
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.forecast import Forecast
from rbee_agent.queen.last_frame import error_frame, merge_end
from rbee_agent.queen.metrics import QueenMetrics
from rbee_agent.queen.placement import as_data
from rbee_agent.queen.queue import TaskQueue
from rbee_agent.queen.sessions import Sessions
from rbee_agent.queen.task import Task
from rbee_agent.runtime.clock import Clock
from rbee_agent.store.base import Ending, Store
from rbee_agent.store.journal import pack

T = TypeVar("T")
RECENT = 100
"""Ended tasks that the event feed's snapshot still names."""
STORE_RETRY_S = 1.0


class Own(Protocol):
    """Makes a task of the queen's own."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> asyncio.Future[T]:
        """Begin `work`; the queen owns it."""


class Tasks:
    """Moves tasks through their states."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        clock: Clock,
        *,
        sessions: Sessions,
        metrics: QueenMetrics,
        queue: TaskQueue,
        forecast: Forecast,
    ) -> None:
        self.queue = queue
        self.sessions = sessions
        self.metrics = metrics
        self.forecast = forecast
        self.ending: dict[str, Task] = {}
        """Ended, but not in the store yet."""
        self.recent: OrderedDict[str, TaskInfo] = OrderedDict()
        self.later: Callable[[Coroutine[Any, Any, None]], None] = _close
        """Runs an ending that nobody waits for; the queen's task group owns it."""
        self.own: Own = asyncio.ensure_future
        """Makes a task that a caller may wait for, but whose end does not depend on the caller."""
        self.on_end: Callable[[Task], None] = _ignore
        """Told of each task that has just ended."""
        self._store = store
        self._feed = feed
        self._clock = clock
        self._log = logs.get("tasks")
        feed.source("task", self._data)

    def find(self, job_id: str) -> Task | None:
        """A task that is in memory: open, or ended a moment ago."""
        return self.queue.open.get(job_id) or self.ending.get(job_id)

    def matching(
        self,
        *,
        limit: int,
        state: str,
        model: str | None = None,
        owner: str | None = None,
        session_id: str | None = None,
        before: float | None = None,
    ) -> list[Task]:
        """Open tasks, newest first; the filters are those of `Store.task_infos`."""
        found = [
            task
            for task in self.queue.open.values()
            if task.state == state
            and model in (None, task.model)
            and owner in (None, task.owner)
            and session_id in (None, task.request.session_id)
            and (before is None or task.created_at < before)
        ]
        return sorted(found, key=lambda task: task.created_at, reverse=True)[:limit]

    def accepted(self, task: Task, *, again: bool = False) -> None:
        """A task is durable: it waits from now on. `again`: it comes from before a restart."""
        self.queue.push(task, again=again and task.has_output)
        self.sessions.begin(task)
        if task.deadline is not None:
            loop = asyncio.get_running_loop()
            left = max(0.0, task.deadline - self._clock.monotonic())
            task.timer = loop.call_later(left, self._deadline, task)
        if not again:
            self.metrics.tasks_enqueued.inc()
        self.changed(task)

    def waits(self, task: Task, reason: str) -> None:
        """The task waits, for this reason; told where it is news."""
        if task.waiting_for == reason:
            return
        first = task.waiting_for is None
        task.waiting_for = reason
        self.changed(task)
        if not first:
            self.tell(task, reason)

    def say_queued(self, task: Task) -> None:
        """Tell the caller that the task waits, and for what."""
        if task.state is TaskState.QUEUED and not task.stream.started:
            position = self.queue.position(task) or 0
            task.told = (position, task.waiting_for)
            task.stream.aside("queued", task.queued_frame(position))

    def placed(self, task: Task, worker: Worker) -> None:
        """A worker takes the task."""
        self.queue.take(task)
        now = self._clock.monotonic()
        first = task.placed is None
        task.state = TaskState.RUNNING
        task.worker_id, task.node_id = worker.info.id, worker.node_id
        task.waiting_for = None
        task.reported_at = now
        if first:
            task.placed = now
            task.started_at = self._clock.utc()
            self.metrics.tasks_started.inc()
            self.metrics.queue_wait_seconds.observe(now - task.accepted)
        if not task.stream.started:
            task.stream.aside("started", task.started_frame())
        if task.decision is not None:
            self.tell(task, f"runs on worker {worker.info.id}: {task.decision.reason}")
        self.changed(task)

    def first_token(self, task: Task) -> None:
        """The first token of a task arrived."""
        if task.first_token is not None:
            self.metrics.first_token_seconds.observe(task.first_token - task.accepted)

    def moved(self, task: Task, worker: Worker, reason: str) -> None:
        """Its worker failed it: it waits again, in front."""
        self.queue.push(task, again=True)
        task.runner = None
        if task.has_output:
            task.resumed += 1
            self.metrics.tasks_resumed.labels(_label(reason)).inc()
        else:
            task.state = TaskState.QUEUED
        task.worker_id = None
        task.moves.append({"worker_id": worker.info.id, "reason": reason, "at": self._clock.utc()})
        task.waiting_for = f"worker {worker.info.id} failed it ({reason})"
        what = "its stream goes on elsewhere" if task.has_output else "it is tried elsewhere"
        self.tell(task, f"worker {worker.info.id} failed: {reason}; {what}")
        self._feed.narrate(
            f"{task.job_id}: worker {worker.info.id} failed ({reason}); {what}",
            level="warning",
            noun="task",
            id=task.job_id,
        )
        self.changed(task)

    async def end(self, task: Task, end: Mapping[str, Any]) -> None:
        """The worker ended the task well."""
        frame = merge_end(task, end)
        task.finish_reason = str(end.get("finish_reason", "stop"))
        task.tokens_cached = int(end.get("tokens_cached", 0))
        task.decode_ms = int(end.get("decode_time_ms", 0))
        task.tokens_in = task.tokens_in or int(end.get("tokens_in", 0))
        await self._finish(task, TaskState.DONE, "end", frame)

    async def fail(self, task: Task, error: RbeeError) -> None:
        """The task ends with an error."""
        task.error = error
        state = TaskState.CANCELLED if error.code == "CANCELLED" else TaskState.FAILED
        await self._finish(task, state, "error", error_frame(error))

    async def end_recovered(self, task: Task, end: Mapping[str, Any]) -> None:
        """A task whose end stands in the journal, but not in the store yet."""
        task.finish_reason = str(end.get("finish_reason", "stop"))
        task.decode_ms = int(end.get("decode_time_ms", 0))
        await self._recovered(task, TaskState.DONE)

    async def fail_recovered(self, task: Task, error: RbeeError) -> None:
        """As `end_recovered`, for a task that ended badly."""
        task.error = error
        cancelled = error.code == "CANCELLED"
        await self._recovered(task, TaskState.CANCELLED if cancelled else TaskState.FAILED)

    async def _recovered(self, task: Task, state: TaskState) -> None:
        task.state = state
        task.ended_at = self._clock.utc()
        self.ending[task.job_id] = task
        await self._write_end(task, task.info())

    async def cancel(self, task: Task, reason: str) -> None:
        """End a task on somebody's wish; no token after this, and a restart does not revive it."""
        if task.state.final:
            return
        self.metrics.tasks_canceled.labels(_label(reason)).inc()
        await self.fail(task, RbeeError(f"cancelled: {reason}", code="CANCELLED"))

    def tell(self, task: Task, text: str) -> None:
        """Narrate into the task's own stream (``?verbose=true``)."""
        frame = NarrationFrame.model_construct(at=self._clock.utc(), actor="queen", text=text)
        task.stream.aside("narration", frame.dump_json())

    def changed(self, task: Task) -> None:
        """The feed tells the task's new state."""
        self._feed.changed("task", task.job_id)

    def info(self, task: Task) -> TaskInfo:
        """A task with its place in the queue."""
        waits = task.state is TaskState.QUEUED
        return task.info(position=self.queue.position(task) if waits else None)

    async def _finish(self, task: Task, state: TaskState, event: str, frame: str) -> None:
        if task.state.final:
            return
        running = task.runner
        task.state = state
        task.ended_at = self._clock.utc()
        now = self._clock.monotonic()
        if task.timer is not None:
            task.timer.cancel()
        if task.grace is not None:
            task.grace.cancel()
        self.queue.drop(task)
        self.ending[task.job_id] = task
        try:
            # A queen killed before the store has it finds the end in the journal.
            task.journal.append(frame + "\n")
        except Unavailable as error:
            self._log.error("journal", job_id=task.job_id, problem=error.message)
        task.stream.finish(event, frame)
        task.taken.set()
        info = task.info()
        self._count(task, now, info)
        self.on_end(task)
        self.changed(task)
        if running is not None and running is not asyncio.current_task():
            running.cancel()
        await asyncio.shield(self.own(self._write_end(task, info)))

    async def _write_end(self, task: Task, info: TaskInfo) -> None:
        """Have the end in the store, however long the disk is full."""
        task.journal.close()
        ending = Ending(
            state=task.state.value,
            ended_at=task.ended_at or self._clock.utc(),
            info=info.dump_json(),
            decision=self._decision(task),
            frames=pack(task.journal.lines()),
        )
        while True:
            try:
                await self._store.end_task(task.job_id, ending)
                break
            except Unavailable as error:
                self._log.error("end not written", job_id=task.job_id, problem=error.message)
                await asyncio.sleep(STORE_RETRY_S)
        task.journal.remove()
        self.ending.pop(task.job_id, None)

    def _decision(self, task: Task) -> str | None:
        if task.decision is None:
            return None
        data = as_data(task.decision)
        if task.moves:
            data["moves"] = task.moves
        return json.dumps(data, separators=(",", ":"))

    def _count(self, task: Task, now: float, info: TaskInfo) -> None:
        took = now - task.accepted
        tokens = task.stream.last_index + 1
        metrics = self.metrics
        metrics.tasks_finished.labels(task.state.value).inc()
        metrics.task_seconds.observe(took)
        metrics.tokens_in.inc(task.tokens_in)
        metrics.tokens_out.inc(tokens)
        metrics.tokens_cached.inc(task.tokens_cached)
        if tokens > 1 and task.first_token is not None:
            metrics.inter_token_seconds.observe((now - task.first_token) / (tokens - 1))
        self.forecast.ended(task, now)
        self.sessions.finish(task, round(took * 1000))
        self.recent[task.job_id] = info
        while len(self.recent) > RECENT:
            old, _ = self.recent.popitem(last=False)
            self._feed.changed("task", old)

    def _deadline(self, task: Task) -> None:
        """The deadline passed: the runner, or a writer of its own, ends the task."""
        error = RbeeError(
            f"the task did not end within {task.request.deadline_ms} ms", code="DEADLINE_EXCEEDED"
        )
        self.later(self.fail(task, error))

    def _data(self, job_id: str) -> dict[str, Any] | None:
        task = self.find(job_id)
        if task is not None:
            return self.info(task).dump()
        info = self.recent.get(job_id)
        return None if info is None else info.dump()


def _ignore(_: Task) -> None:
    """Before anybody listens."""


def _close(ending: Coroutine[Any, Any, None]) -> None:
    """Before the queen runs, nothing is due."""
    ending.close()


def _label(reason: str) -> str:
    """A reason as a metric label: a few words of our own, never free text."""
    known = {
        "sign of life": "silent",
        "no step": "hung",
        "offline": "host offline",
        "closed the stream": "closed",
        "broke": "closed",
        "reached": "unreachable",
        "gone": "gone",
        "asked": "asked",
        "reader": "reader gone",
        "token": "bad frames",
    }
    return next((label for words, label in known.items() if words in reason), "other")


def no_task(job_id: str) -> NotFound:
    """The refusal for a task that is not there, or not the caller's."""
    return NotFound(f"no task {job_id}; tasks are kept for a limited time after their end")
