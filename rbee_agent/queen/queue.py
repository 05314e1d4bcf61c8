"""The queue: owner of every task that has not ended. Two classes, fair within each, by model.

A task goes back to the front (its lane `again`) when its worker died under it: it has waited its
turn already.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from rbee_agent.queen.task import Task


class FairLane:
    """Tasks of one class: flows take turns, each flow in its own order."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, deque[Task]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, task: Task) -> None:
        """Add a task behind the others of its flow."""
        self._flows.setdefault(task.flow, deque()).append(task)
        self._count += 1

    def remove(self, task: Task) -> bool:
        """Take a task out wherever it stands; whether it was there."""
        flow = self._flows.get(task.flow)
        if flow is None or task not in flow:
            return False
        flow.remove(task)
        self._count -= 1
        if not flow:
            del self._flows[task.flow]
        return True

    def served(self, task: Task) -> None:
        """Its flow had its turn: it goes behind the other flows."""
        if self.remove(task) and task.flow in self._flows:
            self._flows.move_to_end(task.flow)

    def __iter__(self) -> Iterator[Task]:
        """The tasks in the order in which they would be served."""
        queues = [list(flow) for flow in self._flows.values()]
        depth = 0
        while queues:
            queues = [queue for queue in queues if len(queue) > depth]
            for queue in queues:
                yield queue[depth]
            depth += 1


@dataclass(slots=True)
class _ModelQueue:
    again: deque[Task] = field(default_factory=deque)
    interactive: FairLane = field(default_factory=FairLane)
    batch: FairLane = field(default_factory=FairLane)

    def __iter__(self) -> Iterator[Task]:
        yield from self.again
        yield from self.interactive
        yield from self.batch

    def __len__(self) -> int:
        return len(self.again) + len(self.interactive) + len(self.batch)


class TaskQueue:
    """Every open task: those that wait, in order, and those that run."""

    def __init__(self) -> None:
        self._models: dict[str, _ModelQueue] = {}
        self.open: dict[str, Task] = {}
        """By id: waiting and running."""
        self.waiting = {"interactive": 0, "batch": 0}

    @property
    def depth(self) -> int:
        """How many tasks wait."""
        return self.waiting["interactive"] + self.waiting["batch"]

    @property
    def running(self) -> int:
        """How many tasks have a worker."""
        return len(self.open) - self.depth

    def models(self) -> list[str]:
        """Models that tasks wait for."""
        return [model for model, queue in self._models.items() if len(queue)]

    def push(self, task: Task, *, again: bool = False) -> None:
        """Let a task wait; `again` puts it in front of all of its model."""
        queue = self._models.setdefault(task.model, _ModelQueue())
        if again:
            queue.again.append(task)
        else:
            (queue.interactive if task.interactive else queue.batch).push(task)
        self.open[task.job_id] = task
        self.waiting[task.request.priority] += 1

    def take(self, task: Task) -> None:
        """A worker takes the task: its flow had its turn."""
        self._leave(task, served=True)

    def drop(self, task: Task) -> None:
        """The task ends, waiting or running."""
        if self.open.pop(task.job_id, None) is not None:
            self._leave(task, served=False)

    def wait_order(self, model: str) -> Iterator[Task]:
        """Tasks that wait for a model, in the order in which they will be served."""
        queue = self._models.get(model)
        return iter(()) if queue is None else iter(list(queue))

    def position(self, task: Task) -> int | None:
        """How many tasks of its model are served before it; None when it does not wait."""
        for place, other in enumerate(self.wait_order(task.model)):
            if other is task:
                return place
        return None

    def length(self, model: str) -> int:
        """How many tasks wait for a model."""
        queue = self._models.get(model)
        return 0 if queue is None else len(queue)

    def oldest(self) -> Task | None:
        """Whom drop-lru drops: the oldest batch task, else the oldest interactive one."""
        waiting = [task for queue in self._models.values() for task in queue]
        return min(
            waiting,
            key=lambda task: (task.request.priority == "interactive", task.accepted),
            default=None,
        )

    def promote(self, accepted_before: float) -> list[Task]:
        """Move batch tasks that waited too long into the interactive class."""
        moved = [
            task
            for queue in self._models.values()
            for task in queue.batch
            if task.accepted < accepted_before
        ]
        for task in moved:
            queue = self._models[task.model]
            queue.batch.remove(task)
            task.promoted = True
            queue.interactive.push(task)
        return moved

    def _leave(self, task: Task, *, served: bool) -> None:
        queue = self._models.get(task.model)
        if queue is None:
            return
        if task in queue.again:
            queue.again.remove(task)
        else:
            lane = queue.interactive if task.interactive else queue.batch
            before = len(lane)
            if served:
                lane.served(task)
            else:
                lane.remove(task)
            if len(lane) == before:
                return
        self.waiting[task.request.priority] -= 1
        if not len(queue):
            del self._models[task.model]
