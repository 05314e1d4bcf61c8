"""The policy script: the operator's own word in admission, placement and eviction.

It runs in a helper process. Whatever goes wrong there (an error, too much CPU or memory, no
answer in time) is counted and narrated, and the built-in policy decides: the queen neither waits
nor grows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.observe import logs
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.metrics import QueenMetrics
from rbee_agent.queen.placement import ModelIndex, Need, WorkerView, score
from rbee_agent.queen.policy_process import LOAD_S, Helper, PolicyFailed, Script
from rbee_agent.queen.task import Task
from rbee_agent.store.base import Store

KIND = "policy"
MAX_SOURCE = 256 * 1024
QUIET_AFTER = 5
"""So many failures in a row switch the script off until it is changed."""


class Policy:
    """The current script, and what follows from its answers."""

    def __init__(
        self, store: Store, feed: Feed, metrics: QueenMetrics, *, fail_closed: bool
    ) -> None:
        self._store = store
        self._feed = feed
        self._metrics = metrics
        self._fail_closed = fail_closed
        self._helper: Helper | None = None
        self._failures = 0
        self._log = logs.get("policy")

    @property
    def script(self) -> Script | None:
        """The script in force."""
        return self._helper.script if self._helper is not None else None

    def has(self, hook: str) -> bool:
        """Whether the script in force wants to be asked this."""
        script = self.script
        return script is not None and hook in script.hooks and self._failures < QUIET_AFTER

    async def load(self) -> None:
        """Take up the script of the queen before."""
        value = (await self._store.documents(KIND)).get("current")
        if value is None:
            return
        stored = json.loads(value)
        try:
            self._helper = await self._checked(stored["name"], stored["source"], stored["at"])
        except InvalidParams as error:
            self._failed("load", error.message)

    async def put(self, name: str, source: str, at: float, workers: Sequence[WorkerView]) -> Script:
        """Check a script, try it on the fleet as it is, then let it decide.

        Raises:
            InvalidParams: it does not load, or fails in the trial; nothing has changed then.
        """
        helper = await self._checked(name, source, at)
        try:
            await self._try(helper, workers)
        except InvalidParams:
            await helper.close()
            raise
        document = {"name": name, "source": source, "at": at}
        await self._store.put(KIND, "current", json.dumps(document))
        old, self._helper, self._failures = self._helper, helper, 0
        if old is not None:
            await old.close()
        self._feed.changed("policy", "current")
        self._feed.narrate(f"policy {name} is in force ({', '.join(helper.script.hooks)})")
        return helper.script

    async def drop(self) -> None:
        """Go back to the built-in policy."""
        await self._store.delete(KIND, "current")
        old, self._helper = self._helper, None
        if old is not None:
            await old.close()
        self._feed.changed("policy", "current")
        self._feed.narrate("the built-in policy is in force")

    async def check(
        self, name: str, source: str, at: float, workers: Sequence[WorkerView]
    ) -> dict[str, Any]:
        """What a script would do with the fleet as it is; nothing changes.

        Raises:
            InvalidParams: it does not load, or fails.
        """
        helper = await self._checked(name, source, at)
        try:
            said = await self._try(helper, workers)
        finally:
            await helper.close()
        return {"hooks": list(helper.script.hooks), "answers": said}

    async def admit(self, task: Task, fleet: dict[str, Any]) -> None:
        """Ask whether a task may come in.

        Raises:
            RbeeError: ADMISSION_REJECT with the script's reason; or where the script fails and
                is set to fail closed.
        """
        if not self.has("admit"):
            return
        try:
            said = await self._call("admit", task_data(task), fleet)
        except PolicyFailed as failed:
            if self._fail_closed:
                raise RbeeError(
                    f"the policy failed and is set to fail closed: {failed}",
                    code="ADMISSION_REJECT",
                    retry_after_ms=5000,
                ) from failed
            return
        if said is False or isinstance(said, str):
            reason = said if isinstance(said, str) else "the policy refused it"
            raise RbeeError(reason[:300], code="ADMISSION_REJECT", retry_after_ms=5000)

    async def place(
        self, task: Task, need: Need, usable: Sequence[WorkerView], fleet: dict[str, Any]
    ) -> tuple[str | None, str | None]:
        """Ask for a worker among the usable ones: its id (None: as built in), and what was said."""
        if not usable or not self.has("place"):
            return None, None
        try:
            said = await self._call("place", task_data(task), worker_data(usable, need), fleet)
        except PolicyFailed as failed:
            return None, f"it failed ({failed}); the built-in strategy decided"
        if said is None:
            return None, "it left the choice to the built-in strategy"
        if not any(view.id == said for view in usable):
            self._failed("place", "it named a worker that may not take the task")
            return None, "it named a worker that may not take the task"
        return str(said), f"it chose {said}"

    async def evict(self, idle: list[dict[str, Any]], need: int) -> list[str] | None:
        """Ask which idle workers should go first; None: least recently used first."""
        if not self.has("evict"):
            return None
        try:
            said = await self._call("evict", idle, need)
        except PolicyFailed:
            return None
        known = {worker["id"] for worker in idle}
        if not isinstance(said, list) or not all(item in known for item in said):
            self._failed("evict", "it named workers that are not idle")
            return None
        return [str(item) for item in said]

    async def close(self) -> None:
        """End the helper process."""
        if self._helper is not None:
            await self._helper.close()

    async def _call(self, hook: str, *arguments: Any) -> Any:
        assert self._helper is not None  # noqa: S101 - asked `has` before
        try:
            said = await self._helper.call(hook, *arguments)
        except PolicyFailed as failed:
            self._failed(hook, str(failed))
            raise
        self._failures = 0
        return said

    def _failed(self, hook: str, problem: str) -> None:
        self._failures += 1
        self._metrics.policy_errors.inc()
        self._log.warning("policy failed", hook=hook, problem=problem)
        text = f"the policy's {hook} failed: {problem}; the built-in policy decided"
        if self._failures == QUIET_AFTER:
            text += f". After {QUIET_AFTER} failures in a row it is not asked again until changed"
        self._feed.narrate(text, level="warning", noun="policy", id="current")

    async def _checked(self, name: str, source: str, at: float) -> Helper:
        if len(source) > MAX_SOURCE:
            raise _invalid(f"at most {MAX_SOURCE} characters")
        helper = Helper(Script(name, source, at))
        try:
            hooks = await helper.hooks()
        except PolicyFailed as failed:
            await helper.close()
            raise _invalid(str(failed)) from failed
        if not hooks:
            await helper.close()
            raise _invalid(
                "it defines none of admit(task, fleet), place(task, workers, fleet), "
                "evict(workers, need)"
            )
        helper.script = Script(name, source, at, tuple(hooks))
        return helper

    async def _try(self, helper: Helper, workers: Sequence[WorkerView]) -> dict[str, Any]:
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
                raise _invalid(f"{hook}: {failed}") from failed
        return said


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


def task_data(task: Task) -> dict[str, Any]:
    """A task as a script sees it: no prompt."""
    request = task.request
    return {
        "id": task.job_id,
        "model": task.model,
        "workload": request.workload,
        "priority": request.priority,
        "session": request.session_id,
        "owner": task.owner,
        "strict": request.strict,
        "max_tokens": request.max_tokens,
        "deadline_ms": request.deadline_ms,
    }


def worker_data(views: Sequence[WorkerView], need: Need) -> list[dict[str, Any]]:
    """Workers as a script sees them, with the built-in score."""
    fastest = max((view.tokens_per_s for view in views), default=0.0)
    return [
        {
            "id": view.id,
            "node": view.node_id,
            "pool": view.pool_id,
            "model": view.model,
            "region": view.region,
            "backend": view.backend,
            "device": view.device,
            "slots": view.slots,
            "busy": view.busy,
            "free": view.slots - view.busy,
            "tokens_per_s": view.tokens_per_s,
            "memory_free": view.memory_free,
            "warm": view.id == need.warm_worker,
            "score": score(view, need, fastest).total,
            "labels": dict(view.labels),
        }
        for view in views
    ]


def fleet_data(index: ModelIndex | None, *, waiting: int, running: int) -> dict[str, Any]:
    """The summary that every hook gets: the workers of the task's model, and the queue."""
    return {
        "workers": 0 if index is None else len(index),
        "slots": 0 if index is None else index.slots,
        "busy": 0 if index is None else index.busy,
        "waiting": waiting,
        "running": running,
    }


def script_data(script: Script) -> dict[str, Any]:
    """A script as the API shows it."""
    return asdict(script)


def _invalid(message: str) -> InvalidParams:
    return InvalidParams([{"field": "source", "constraint": "policy", "message": message}])
