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

from rbee_agent.contracts.events import FleetSnapshot
from rbee_agent.contracts.policy import PolicyTrial
from rbee_agent.errors import InvalidParams, RbeeError
from rbee_agent.observe import logs
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.metrics import QueenMetrics
from rbee_agent.queen.placement import Need, WorkerView
from rbee_agent.queen.policy_data import task_data, worker_data
from rbee_agent.queen.policy_process import Helper, PolicyFailed, Script
from rbee_agent.queen.policy_trial import ask_once, refused_script, replay
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
            await ask_once(helper, workers)
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
        self,
        name: str,
        source: str,
        at: float,
        *,
        workers: Sequence[WorkerView],
        snapshot: FleetSnapshot | None = None,
    ) -> PolicyTrial:
        """What a script would do; nothing changes.

        Args:
            name: of the script.
            source: its text.
            at: now (UTC).
            workers: of the fleet as it is: one example task is asked about.
            snapshot: a recorded fleet: each of its open tasks is asked about, too.

        Raises:
            InvalidParams: it does not load, or fails.
        """
        helper = await self._checked(name, source, at)
        try:
            said = await ask_once(helper, workers)
            decisions = [] if snapshot is None else await replay(helper, snapshot)
        finally:
            await helper.close()
        hooks = list(helper.script.hooks)
        return PolicyTrial(hooks=hooks, answers=said, decisions=decisions)

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
            raise refused_script(f"at most {MAX_SOURCE} characters")
        helper = Helper(Script(name, source, at))
        try:
            hooks = await helper.hooks()
        except PolicyFailed as failed:
            await helper.close()
            raise refused_script(str(failed)) from failed
        if not hooks:
            await helper.close()
            raise refused_script(
                "it defines none of admit(task, fleet), place(task, workers, fleet), "
                "evict(workers, need)"
            )
        helper.script = Script(name, source, at, tuple(hooks))
        return helper


def script_data(script: Script) -> dict[str, Any]:
    """A script as the API shows it."""
    return asdict(script)
