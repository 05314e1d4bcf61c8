"""Waiting for what was asked for: a host online, a model on disk, a worker ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from rbee_agent.contracts.nodes import NodeState
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import RbeeError
from rbee_tui.cli.watch import fleets
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.units import percent, size

if TYPE_CHECKING:
    from rbee_agent.client import QueenClient
    from rbee_agent.contracts.nodes import NodeInfo
    from rbee_agent.contracts.pools import Deployment
    from rbee_agent.contracts.workers import WorkerInfo

T = TypeVar("T")
Tell = Callable[[str], None]

PATIENCE_S = 10.0
_BROKEN = (WorkerState.FAILED, WorkerState.CRASH_LOOPING)


async def until(
    queen: QueenClient, look: Callable[[Fleet], T | None], *, timeout: float, what: str
) -> T:
    """The first answer of `look` over the fleet as it changes.

    Raises:
        RbeeError: DEADLINE_EXCEEDED, naming `what` was waited for.
    """
    try:
        async with asyncio.timeout(timeout), aclosing(fleets(queen)) as states:
            async for fleet in states:
                answer = look(fleet)
                if answer is not None:
                    return answer
    except TimeoutError:
        pass
    raise RbeeError(f"{what} did not happen within {timeout:g} s", code="DEADLINE_EXCEEDED")


async def node_online(queen: QueenClient, *, node_id: str | None, timeout: float) -> NodeInfo:
    """Wait until a host (that one, or any) is online.

    Raises:
        RbeeError: it did not come in time.
    """

    def look(fleet: Fleet) -> NodeInfo | None:
        for node in fleet.nodes.values():
            if node.state is NodeState.ONLINE and node_id in (None, node.id):
                return node
        return None

    return await until(queen, look, timeout=timeout, what="the hive coming online")


async def worker_ready(
    queen: QueenClient, wish: Deployment, *, timeout: float, tell: Tell
) -> WorkerInfo:
    """Wait until a worker of a wish is ready; tells of downloads and loading meanwhile.

    Raises:
        RbeeError: the worker died while loading (with its last log lines), the wish cannot be
            fulfilled, or it took too long.
    """

    def look(fleet: Fleet) -> WorkerInfo | None:
        ids = set(wish.worker_ids)
        current = fleet.deployments.get(wish.id)
        if current is not None:
            ids |= set(current.worker_ids)
        for worker_id in ids & set(fleet.workers):
            worker = fleet.workers[worker_id]
            if worker.state is WorkerState.READY:
                return worker
            if worker.state in _BROKEN:
                raise RbeeError(f"{_epitaph(worker)}\n{_kept(wish)}", code="BACKEND_UNAVAILABLE")
            tell(f"worker {worker.id}: {worker.state.value} {percent(worker.load_progress)}")
        problem = current.problem if current and not ids & set(fleet.workers) else None
        if problem is not None:
            tell(f"{wish.model}: {problem}")
        if patience.over(problem):
            raise RbeeError(f"{problem}\n{_kept(wish)}", code="BACKEND_UNAVAILABLE")
        _tell_pull(fleet, wish.model, tell)
        return None

    patience = _Patience()
    return await until(queen, look, timeout=timeout, what=f"a worker of {wish.model} being ready")


class _Patience:
    """How long the queen's complaint may stay the same before we believe it."""

    def __init__(self) -> None:
        self._problem: str | None = None
        self._since = 0.0

    def over(self, problem: str | None) -> bool:
        """Whether this problem has been there for `PATIENCE_S` without a break."""
        now = asyncio.get_running_loop().time()
        if problem != self._problem:
            self._problem, self._since = problem, now
        return problem is not None and now - self._since >= PATIENCE_S


def _kept(wish: Deployment) -> str:
    return f"the queen keeps trying; `rbee worker stop {wish.id}` withdraws the wish"


async def model_pulled(
    queen: QueenClient, model: str, *, node_id: str | None, timeout: float, tell: Tell
) -> NodeInfo:
    """Wait until a host has the model on its disk; tells of the download meanwhile.

    Raises:
        RbeeError: the download failed or took too long.
    """
    told: list[int] = []

    def look(fleet: Fleet) -> NodeInfo | None:
        for node in fleet.nodes.values():
            if model in node.models and node_id in (None, node.id):
                return node
        last = fleet.narration[-1] if fleet.narration else None
        # A pull that failed ends as an error about the model; older ones are another story.
        if not told:
            told.append(last.seq if last else -1)
        for line in reversed(fleet.narration):
            if line.seq <= told[0]:
                break
            if line.level == "error" and (line.noun, line.id) == ("model", model):
                raise RbeeError(line.text)
        _tell_pull(fleet, model, tell)
        return None

    return await until(queen, look, timeout=timeout, what=f"pulling {model}")


def _tell_pull(fleet: Fleet, model: str, tell: Tell) -> None:
    for pull in fleet.pulls.values():
        if pull.model == model and pull.phase not in ("done", "error"):
            of = f" of {size(pull.total)}" if pull.total else ""
            speed = f", {size(pull.bytes_per_s)}/s" if pull.bytes_per_s else ""
            tell(f"{model}: {pull.phase} {size(pull.done)}{of}{speed}")


def _epitaph(worker: WorkerInfo) -> str:
    lines = "\n  ".join(worker.last_log[-10:])
    why = worker.error or worker.state.value
    return f"worker {worker.id} did not come up: {why}" + (f"\n  {lines}" if lines else "")
