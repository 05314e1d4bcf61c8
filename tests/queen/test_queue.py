"""The queue: classes, fairness, places, promotion; held against a slow and simple model."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.queen.admission import Turns
from rbee_agent.queen.queue import TaskQueue
from rbee_agent.queen.task import Task
from rbee_agent.store.journal import Journal

_COUNT = iter(range(10**9))


def task(model="m", session=None, priority="interactive", **fields) -> Task:
    number = next(_COUNT)
    return Task(
        job_id=f"t{number}",
        request=TaskRequest(
            model=model, prompt="x", session_id=session, priority=priority, **fields
        ),
        model=model,
        owner="me",
        created_at=0.0,
        accepted=float(number),
        journal=Journal(Path("/nowhere")),
        body="",
        body_sha256="",
    )


def test_interactive_goes_before_batch():
    """A batch task waits behind every interactive one."""
    queue = TaskQueue()
    late, early = task(), task(priority="batch")
    queue.push(early)
    queue.push(late)
    assert queue.next_up("m") == [late]
    assert queue.position(early) == 1


def test_flows_take_turns():
    """A session with many tasks does not starve one with a single task."""
    queue = TaskQueue()
    many = [task(session="a") for _ in range(3)]
    one = task(session="b")
    for item in [*many, one]:
        queue.push(item)
    served = []
    while up := queue.next_up("m"):
        served.append(up[0])
        queue.take(up[0])
    assert served == [many[0], one, many[1], many[2]]


def test_promotion_makes_a_batch_task_interactive():
    """A batch task that waited too long stands in the interactive class, at its end."""
    queue = TaskQueue()
    old, fresh = task(priority="batch"), task(priority="batch")
    talk = task()
    for item in (old, fresh, talk):
        queue.push(item)
    assert queue.promote(fresh.accepted) == [old]
    assert queue.wait_order("m") == [talk, old, fresh]
    assert queue.waiting == {"interactive": 1, "batch": 2}


def test_drop_lru_takes_the_oldest_batch_task_first():
    """Interactive work is dropped only when no batch work waits."""
    queue = TaskQueue()
    first, batch = task(), task(priority="batch")
    queue.push(first)
    queue.push(batch)
    assert queue.oldest() is batch
    queue.drop(batch)
    assert queue.oldest() is first


def test_a_pinned_task_does_not_block_the_others():
    """What waits for one worker stands beside the plain order."""
    queue = TaskQueue()
    pinned = task(placement={"mode": "pin", "worker_id": "w9"})
    plain = task()
    queue.push(pinned)
    queue.push(plain)
    assert set(queue.next_up("m")) == {pinned, plain}


class QueueModel(RuleBasedStateMachine):
    """Random pushes, takes and drops; the indexed places must be those of a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue()
        self.living: list[Task] = []

    @rule(
        session=st.sampled_from(["a", "b", "c"]), priority=st.sampled_from(["interactive", "batch"])
    )
    def push(self, session, priority):
        made = task(session=session, priority=priority)
        self.queue.push(made)
        self.living.append(made)

    @precondition(lambda self: self.living)
    @rule()
    def take(self):
        head = self.queue.next_up("m")[0]
        assert head is self.queue.wait_order("m")[0]
        self.queue.take(head)
        self.living.remove(head)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def drop(self, data):
        victim = data.draw(st.sampled_from(self.living))
        self.queue.drop(victim)
        self.living.remove(victim)

    @invariant()
    def places_agree(self):
        order = self.queue.wait_order("m")
        assert set(order) == set(self.living)
        assert self.queue.depth == len(self.living)
        assert [self.queue.position(t) for t in order] == list(range(len(order)))


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = hypothesis_settings(max_examples=40, stateful_step_count=30)


def test_refused_callers_are_sent_to_different_places():
    """Each is told of a place that nobody else was promised, and none further than the queue."""
    turns = Turns()

    told = [turns.wait_s(100.0, step=2.0, places=4) for _ in range(6)]

    assert told == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]
    assert turns.wait_s(107.0, step=2.0, places=4) == 3.0
    assert turns.wait_s(200.0, step=2.0, places=4) == 2.0


def test_a_new_task_is_told_the_place_that_it_gets():
    """Before it waits, the queue says how many will be served before it."""
    queue = TaskQueue()
    for number in range(12):
        priority = "batch" if number % 4 == 0 else "interactive"
        fresh = task(session="abc"[number % 3], priority=priority)
        said = queue.ahead_of_new(fresh)
        queue.push(fresh)
        assert said == queue.position(fresh)
