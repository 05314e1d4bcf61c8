"""The queue: owner of every task that has not ended. Two classes, fair within each, by model.

Plain tasks of a model stand in one order. Special ones (pinned, or going on behind a worker that
died) want a certain worker: they stand beside it, and are looked at with the plain one in front.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from rbee_agent.queen.task import Task

COUNTED_FLOWS = 64
"""With more flows than this, a place in the queue is an estimate."""


class _Flow:
    """Tasks of one caller in their order; places are found by bisection."""

    __slots__ = ("numbers", "tasks")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.tasks: dict[int, Task] = {}

    def push(self, number: int, task: Task) -> None:
        self.numbers.append(number)
        self.tasks[number] = task

    def remove(self, number: int) -> None:
        del self.tasks[number]
        del self.numbers[bisect_left(self.numbers, number)]

    def first(self) -> Task:
        return self.tasks[self.numbers[0]]


class FairLane:
    """Tasks of one class: flows take turns, each flow in its own order."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, _Flow] = OrderedDict()
        self._places: dict[Task, tuple[str, int]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, task: Task) -> bool:
        return task in self._places

    def push(self, task: Task) -> None:
        """Add a task behind the others of its flow."""
        flow, number = task.flow, next(self._numbers)
        self._flows.setdefault(flow, _Flow()).push(number, task)
        self._places[task] = (flow, number)

    def remove(self, task: Task, *, served: bool = False) -> None:
        """Take a task out wherever it stands; `served` ends its flow's turn."""
        name, number = self._places.pop(task)
        flow = self._flows[name]
        flow.remove(number)
        if not flow.numbers:
            del self._flows[name]
        elif served:
            self._flows.move_to_end(name)

    def head(self) -> Task | None:
        """Who is served next."""
        return next(iter(self._flows.values())).first() if self._flows else None

    def ahead(self, task: Task) -> int:
        """How many are served before it; an estimate where there are very many flows."""
        name, number = self._places[task]
        return self._before(name, bisect_left(self._flows[name].numbers, number))

    def ahead_of_new(self, name: str) -> int:
        """How many would be served before a new task of a flow."""
        flow = self._flows.get(name)
        return self._before(name, len(flow.numbers) if flow is not None else 0)

    def _before(self, name: str, depth: int) -> int:
        """How many are served before the task at a depth of a flow (one of no flow: a new last)."""
        if len(self._flows) > COUNTED_FLOWS:
            return min(len(self), (depth + 1) * len(self._flows)) - 1
        before, passed = depth, False
        for other, flow in self._flows.items():
            if other == name:
                passed = True
            else:
                before += min(len(flow.numbers), depth if passed else depth + 1)
        return before

    def __iter__(self) -> Iterator[Task]:
        """The tasks in the order in which they would be served."""
        queues = [[flow.tasks[number] for number in flow.numbers] for flow in self._flows.values()]
        depth = 0
        while queues:
            queues = [queue for queue in queues if len(queue) > depth]
            for queue in queues:
                yield queue[depth]
            depth += 1


@dataclass(slots=True)
class _ModelQueue:
    special: dict[Task, None] = field(default_factory=dict)
    interactive: FairLane = field(default_factory=FairLane)
    batch: FairLane = field(default_factory=FairLane)

    def __iter__(self) -> Iterator[Task]:
        yield from self.special
        yield from self.interactive
        yield from self.batch

    def __len__(self) -> int:
        return len(self.special) + len(self.interactive) + len(self.batch)

    def head(self) -> Task | None:
        return self.interactive.head() or self.batch.head()


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
        return list(self._models)

    def push(self, task: Task, *, again: bool = False) -> None:
        """Let a task wait; `again`: its worker failed it, so it is looked at before all others."""
        queue = self._models.setdefault(task.model, _ModelQueue())
        if again or is_special(task):
            queue.special[task] = None
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

    def next_up(self, model: str) -> list[Task]:
        """Who may be placed next: the special ones and the first plain one, in order of right."""
        queue = self._models.get(model)
        if queue is None:
            return []
        head = queue.head()
        if not queue.special:
            return [head] if head is not None else []
        found = [*queue.special] if head is None else [*queue.special, head]
        found.sort(key=lambda task: (not task.failures, not task.interactive, task.accepted))
        return found

    def wait_order(self, model: str) -> list[Task]:
        """All tasks that wait for a model, in the order in which they will be served."""
        queue = self._models.get(model)
        return [] if queue is None else list(queue)

    def position(self, task: Task) -> int | None:
        """How many tasks of its model are served before it; None when it does not wait."""
        queue = self._models.get(task.model)
        if queue is None:
            return None
        if task in queue.special:
            return list(queue.special).index(task)
        if task in queue.interactive:
            return len(queue.special) + queue.interactive.ahead(task)
        if task in queue.batch:
            return len(queue.special) + len(queue.interactive) + queue.batch.ahead(task)
        return None

    def ahead_of_new(self, task: Task) -> int:
        """How many tasks of its model would be served before one that does not wait yet."""
        queue = self._models.get(task.model)
        if queue is None:
            return 0
        special = len(queue.special)
        if is_special(task):
            return special
        if task.interactive:
            return special + queue.interactive.ahead_of_new(task.flow)
        return special + len(queue.interactive) + queue.batch.ahead_of_new(task.flow)

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
        if task in queue.special:
            del queue.special[task]
        elif task in queue.interactive:
            queue.interactive.remove(task, served=served)
        elif task in queue.batch:
            queue.batch.remove(task, served=served)
        else:
            return
        self.waiting[task.request.priority] -= 1
        if not len(queue):
            del self._models[task.model]


def is_special(task: Task) -> bool:
    """Whether a task asks for more than any free worker of its model."""
    wish = task.request.placement
    return (
        task.has_output
        or wish.mode == "pin"
        or bool(wish.avoid_pools or wish.region or wish.device)
    )
