"""Dispatch: gives waiting tasks to workers, runs them there, and moves them when a worker dies.

Everything is driven by events: a new task, a slot that came free, a worker that became ready. Each
task that runs has one asyncio task, owned by the queen's task group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rbee_agent.errors import RbeeError, Unavailable
from rbee_agent.observe import logs
from rbee_agent.queen.attempt import Attempts
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.guard import begin, guarded
from rbee_agent.queen.placement import Decision, Need, decide, usable_workers
from rbee_agent.queen.policy import Policy
from rbee_agent.queen.policy_data import fleet_data
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.relay import Broken
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks
from rbee_agent.runtime.clock import Clock

ATTEMPTS = 4
"""Attempts in a row without a new token, after which a task is given up."""


class Dispatcher:
    """Places and runs tasks."""

    def __init__(
        self,
        tasks: Tasks,
        registry: Registry,
        attempts: Attempts,
        clock: Clock,
        *,
        policy: Policy,
        strategy: str = "affinity",
    ) -> None:
        self.strategy = strategy
        self.wants: Callable[[Task], str | None] = _nobody
        """Told of a task that no worker could ever take; says what is being done about it."""
        self._tasks = tasks
        self._registry = registry
        self._attempts = attempts
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._policy = policy
        self._asked: dict[str, None] = {}
        """Models that the policy script is to be asked about, in order."""
        self._news = asyncio.Event()
        self._turn = 0
        self._log = logs.get("dispatch")
        registry.on_capacity = self.poke
        registry.on_lost = self.worker_lost

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run tasks in `group` from now on."""
        self._group = group
        group.create_task(self._ask_policy(), name="policy")
        self.poke_all()

    def stop(self) -> None:
        """Start nothing more; what runs is left to the end of the group."""
        self._group = None

    def poke_all(self) -> None:
        """Look at every model that tasks wait for."""
        for model in self._tasks.queue.models():
            self.poke(model)

    def poke(self, model: str) -> None:
        """Place what can be placed of the tasks that wait for a model, in their order."""
        if self._group is None:
            return
        if self._policy.has("place"):
            self._asked[model] = None
            self._news.set()
            return
        tried: set[Task] = set()
        while True:
            task = next((t for t in self._tasks.queue.next_up(model) if t not in tried), None)
            if task is None:
                return
            decision = self.place(task)
            if decision.worker_id is not None:
                self._start(task, decision)
            else:
                # What the first plain task cannot have, the next one cannot have either.
                tried.add(task)

    def offer(self, task: Task) -> None:
        """Place a new task at once, unless others stand in front of it."""
        if self._group is None:
            return
        if task in self._tasks.queue.next_up(task.model):
            self.poke(task.model)
        else:
            self._tasks.waits(task, "others wait in front of it")

    async def _ask_policy(self) -> None:
        """Place with the policy script: one question at a time, in the order of the poking."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._asked:
                model = next(iter(self._asked))
                del self._asked[model]
                await guarded(self._poke_with_policy(model), f"policy for {model}")

    async def _poke_with_policy(self, model: str) -> None:
        tried: set[Task] = set()
        while self._group is not None:
            task = next((t for t in self._tasks.queue.next_up(model) if t not in tried), None)
            if task is None:
                return
            tried.add(task)
            need = self.need(task)
            index, queue = self._registry.index(model), self._tasks.queue
            usable = usable_workers(index, need)
            fleet = fleet_data(index, waiting=queue.depth, running=queue.running)
            named, said = await self._policy.place(task, need, usable, fleet)
            if task not in self._tasks.queue.next_up(model):
                continue  # cancelled, or placed otherwise, while the script thought
            decision = self.place(task, prefer=named, said=said)
            if decision.worker_id is not None:
                self._start(task, decision)

    def place(self, task: Task, *, prefer: str | None = None, said: str | None = None) -> Decision:
        """Decide for one task and note why; `prefer` and `said` come from the policy script."""
        began = self._clock.monotonic()
        self._turn += 1
        need = self.need(task)
        decision = decide(
            self._registry.index(task.model),
            need,
            strategy=self.strategy,
            turn=self._turn,
            prefer=prefer,
        )
        fallback = decision.worker_id is None and _may_fall_back(task)
        if fallback:
            decision = self._fall_back(task, need, decision)
        decision = replace(decision, at=self._clock.utc(), policy=said)
        task.decision = decision
        metrics = self._tasks.metrics
        metrics.placement_seconds.observe(self._clock.monotonic() - began)
        pinned = "yes" if need.wish.mode == "pin" else "no"
        fell = "yes" if fallback else "no"
        metrics.placement_decisions.labels(decision.outcome, pinned, fell).inc()
        if decision.worker_id is None:
            coming = self.wants(task) if decision.outcome == "none" else None
            self._tasks.waits(task, coming or decision.reason)
        return decision

    def _fall_back(self, task: Task, need: Need, pinned: Decision) -> Decision:
        """The pin cannot be kept now and the task allows another worker: said, never silent."""
        free = replace(need, wish=need.wish.model_copy(update={"mode": "auto"}))
        decision = decide(
            self._registry.index(task.model), free, strategy=self.strategy, turn=self._turn
        )
        reason = f"its pin could not be kept ({pinned.reason}); {decision.reason}"
        return replace(decision, reason=reason)

    def need(self, task: Task) -> Need:
        """What a task asks of a worker now."""
        goes_on = task.has_output
        return Need(
            model=task.model,
            wish=task.request.placement,
            context=task.context,
            warm_worker=self._tasks.sessions.worker_of(task),
            fingerprint=task.fingerprint if goes_on else None,
            profile=task.profile if goes_on and task.request.strict else None,
            resumes=goes_on,
        )

    def worker_lost(self, worker_id: str, reason: str) -> None:
        """The fleet says that a worker is gone: do not wait for its connection to break."""
        self._tasks.sessions.worker_gone(worker_id)
        for task in list(self._tasks.queue.open.values()):
            if task.worker_id == worker_id and task.runner is not None:
                task.lost_reason = reason
                task.runner.cancel()

    def _start(self, task: Task, decision: Decision) -> None:
        assert decision.worker_id is not None and self._group is not None  # noqa: S101, PT018
        worker = self._registry.reserve(decision.worker_id, task.job_id)
        self._tasks.placed(task, worker)
        runner = self._group.create_task(self._run(task, worker), name=task.job_id)
        runner.add_done_callback(lambda done: self._done(task, worker, done))
        task.runner = runner

    def _done(self, task: Task, worker: Worker, runner: asyncio.Task[None]) -> None:
        """Clean up behind a runner, also behind one that was cancelled before its first step."""
        self._registry.release(worker.info.id, task.job_id)
        unhandled = task.runner is runner and not task.state.final
        if runner.cancelled() and unhandled and task.lost_reason and self._group is not None:
            broken = Broken(task.lost_reason, blame=False)
            moving = self._move(task, worker, broken, progressed=False)
            begin(self._group, moving, task.job_id)

    async def _run(self, task: Task, worker: Worker) -> None:
        """One attempt, and what follows from how it ended."""
        worker_id = worker.info.id
        before = task.stream.last_index
        again: Broken | None = None
        try:
            elsewhere = partial(self._elsewhere, task, worker)
            end = await self._attempts.run(task, worker, elsewhere)
            # From here on the worker does not matter: its end must not disturb the writing.
            task.runner = None
            self._registry.release(worker_id, task.job_id)
            await self._tasks.end(task, end)
        except Broken as broken:
            again = broken
        except RbeeError as error:
            again = self._needs_more_context(task, worker, error)
            if again is None:
                task.runner = None
                self._registry.release(worker_id, task.job_id)
                await self._tasks.fail(task, error)
        except asyncio.CancelledError:
            if task.lost_reason is None or task.state.final:
                raise
            again = Broken(task.lost_reason, blame=False)
        except Exception as error:
            # A bug of ours ends one task, not the queen.
            self._log.exception("a task failed", job_id=task.job_id)
            await self._tasks.fail(
                task, RbeeError(f"an internal error ({type(error).__name__}); see the queen's log")
            )
        finally:
            self._registry.release(worker_id, task.job_id)
        if again is not None:
            await self._move(task, worker, again, progressed=task.stream.last_index > before)

    def _elsewhere(self, task: Task, worker: Worker) -> bool:
        """Whether another worker could take the task over now."""
        usable = usable_workers(self._registry.index(task.model), self.need(task))
        return any(view.id != worker.info.id for view in usable)

    def _needs_more_context(self, task: Task, worker: Worker, error: RbeeError) -> Broken | None:
        """The prompt is too long for this worker: is there one of the model with more room?"""
        if error.code != "CONTEXT_LENGTH_EXCEEDED" or task.has_output:
            return None
        index = self._registry.index(task.model)
        if not any(view.context > worker.info.context for view in index or ()):
            return None
        task.context = worker.info.context + 1
        return Broken(error.message, blame=False, counts=False)

    async def _move(self, task: Task, worker: Worker, broken: Broken, *, progressed: bool) -> None:
        """The attempt broke: let the task wait for another worker, in front of all others."""
        if task.state.final:
            return
        if broken.blame:
            self._registry.distrust(worker.info.id, broken.reason)
        if broken.pause_s:
            await asyncio.sleep(broken.pause_s)
        if broken.counts:
            task.failures = 1 if progressed else task.failures + 1
        if task.state.final:
            return
        if task.has_output and worker.resume == "none":
            await self._tasks.fail(
                task,
                Unavailable(
                    f"worker {worker.info.id} broke off ({broken.reason}), and its kind of engine "
                    "cannot go on behind what was sent",
                    code="WORKER_RESET",
                ),
            )
            return
        if task.failures >= ATTEMPTS:
            await self._tasks.fail(
                task,
                Unavailable(
                    f"{task.failures} attempts broke without a new token; the last on worker "
                    f"{worker.info.id}: {broken.reason}",
                    code=broken.code,
                    retry_after_ms=5000,
                ),
            )
            return
        self._tasks.moved(task, worker, broken.reason)
        self.poke(task.model)


def _nobody(_: Task) -> None:
    """Before deployments are wired in, nothing is done about it."""


def _may_fall_back(task: Task) -> bool:
    wish = task.request.placement
    return wish.mode == "pin" and wish.allow_fallback
