"""The fleet follows the queen's feed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.events import Change, FleetSnapshot, Narration
from rbee_agent.contracts.nodes import Telemetry, WorkerGauge
from rbee_agent.contracts.tasks import TaskInfo, TaskState
from rbee_tui.state import fleet as fleet_module
from rbee_tui.state import reducer
from rbee_tui.state.events import Event
from rbee_tui.state.fleet import HISTORY, Fleet
from rbee_tui.state.reducer import reduce, reduce_all

Make = Callable[..., Event]


def put(seq: int, noun: str, id: str, value: dict[str, object]) -> Change:
    return Change(seq=seq, at=1001.0, noun=noun, id=id, op="put", value=value)


def telemetry(at: float, speed: float = 5.0) -> Telemetry:
    device = Device(id="cpu", backend="cpu", name="CPU", memory_total=100, memory_used=50,
                    memory_free=50, utilization=0.5)  # fmt: skip
    return Telemetry(
        node_id="n1", at=at, devices=[device],
        workers=[WorkerGauge(id="w1", slots_busy=1, tokens_per_s=speed)],
    )  # fmt: skip


def test_a_snapshot_is_taken_whole(snapshot: FleetSnapshot, event: Make) -> None:
    """After a snapshot the fleet holds exactly what is in it."""
    before = reduce(Fleet(), event(snapshot))
    stranger = put(11, "worker", "w2", {"id": "w2", "model": "m", "state": "ready"})
    fleet = reduce_all(before, [event(stranger), event(snapshot)])

    assert {"w1"} == set(fleet.workers)
    assert fleet.seq == 10
    assert fleet.offset == 500.0


def test_a_change_replaces_one_thing_and_shares_the_rest(
    snapshot: FleetSnapshot, event: Make
) -> None:
    """Only the map that a change touches is new."""
    before = reduce(Fleet(), event(snapshot))
    value = {"id": "w1", "model": "m", "state": "draining"}
    after = reduce(before, event(put(11, "worker", "w1", value)))

    assert after.workers["w1"].state == "draining"
    assert before.workers["w1"].state == "ready"
    assert after.nodes is before.nodes


def test_a_change_that_came_twice_counts_once(snapshot: FleetSnapshot, event: Make) -> None:
    """What is older than the snapshot is already in it."""
    before = reduce(Fleet(), event(snapshot))
    old = put(10, "worker", "w1", {"id": "w1", "model": "m", "state": "failed"})

    assert reduce(before, event(old)).workers["w1"].state == "ready"


def test_a_deleted_thing_is_gone_with_what_belongs_to_it(
    snapshot: FleetSnapshot, event: Make
) -> None:
    """Deleting a worker forgets its gauge and its history."""
    fleet = reduce_all(Fleet(), [event(snapshot), event(telemetry(1001.0))])
    assert "worker/w1" in fleet.history
    gone = Change(seq=11, at=1002.0, noun="worker", id="w1", op="delete")
    fleet = reduce(fleet, event(gone))

    assert dict(fleet.workers) == {}
    assert dict(fleet.gauges) == {}
    assert "worker/w1" not in fleet.history


def test_telemetry_moves_devices_and_gauges(snapshot: FleetSnapshot, event: Make) -> None:
    """Telemetry changes devices, gauges and histories, and is a sign of life."""
    fleet = reduce_all(Fleet(), [event(snapshot), event(telemetry(1001.0), 501.0)])

    assert fleet.nodes["n1"].devices[0].memory_used == 50
    assert fleet.slots_busy(fleet.workers["w1"]) == 1
    assert fleet.tokens_per_s(fleet.workers["w1"]) == 5.0
    assert fleet.history["node/n1"] == (0.5,)
    assert fleet.history["fleet"] == (5.0,)
    assert fleet.age("n1", 503.0) == 2.0


def test_an_age_counts_from_when_the_queen_heard(snapshot: FleetSnapshot, event: Make) -> None:
    """A node that the queen heard 2 s before the snapshot is 2 s old when it comes."""
    fleet = reduce(Fleet(), event(snapshot))

    assert fleet.age("n1", 500.0) == 2.0
    assert fleet.age("n1", 510.0) == 12.0
    assert fleet.age("nobody", 510.0) is None


def test_histories_are_bounded(snapshot: FleetSnapshot, event: Make) -> None:
    """A history keeps its newest samples only."""
    events = [event(telemetry(1000.0 + at, float(at))) for at in range(HISTORY + 20)]
    fleet = reduce_all(Fleet(), [event(snapshot), *events])

    assert len(fleet.history["worker/w1"]) == HISTORY
    assert float(HISTORY + 19) == fleet.history["worker/w1"][-1]


def test_ended_tasks_are_bounded(
    snapshot: FleetSnapshot, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ended tasks the newest stay; running ones always do."""
    monkeypatch.setattr(reducer, "MAX_ENDED_TASKS", 3)
    changes = [
        put(11 + at, "task", f"t{at}", TaskInfo(
            job_id=f"t{at}", model="m", created_at=1.0,
            state=TaskState.RUNNING if at == 0 else TaskState.DONE, ended_at=float(at),
        ).dump())
        for at in range(10)
    ]  # fmt: skip
    fleet = reduce_all(Fleet(), [event(snapshot), *map(event, changes)])

    assert {"t0", "t7", "t8", "t9"} == set(fleet.tasks)


def test_narration_is_bounded_and_told_once(
    snapshot: FleetSnapshot, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A narration that came before is not told again; old ones go."""
    monkeypatch.setattr(reducer, "MAX_NARRATION", 5)
    told = [event(Narration(seq=at, at=1.0, actor="queen", text=str(at))) for at in range(11, 20)]
    fleet = reduce_all(Fleet(), [event(snapshot), *told, told[-1], told[0]])

    assert [n.text for n in fleet.narration] == ["15", "16", "17", "18", "19"]
    assert fleet_module.MAX_NARRATION >= 5


def test_a_narration_does_not_hide_changes_behind_it(snapshot: FleetSnapshot, event: Make) -> None:
    """Narrations and changes may be numbered apart: one never makes the other look old."""
    said = Narration(seq=99, at=1.0, actor="queen", text="x")
    change = put(11, "worker", "w1", {"id": "w1", "model": "m", "state": "draining"})
    fleet = reduce_all(Fleet(), [event(snapshot), event(said), event(change)])

    assert fleet.workers["w1"].state == "draining"


def test_a_change_that_cannot_be_read_is_counted(snapshot: FleetSnapshot, event: Make) -> None:
    """A broken record does not end the feed, and is not silently lost."""
    fleet = reduce_all(Fleet(), [event(snapshot), event(put(11, "worker", "w9", {"id": "w9"}))])

    assert fleet.unreadable == 1
    assert "w9" not in fleet.workers


def test_a_noun_of_a_newer_queen_is_kept(snapshot: FleetSnapshot, event: Make) -> None:
    """Sessions, policy and what may come later are kept as they are."""
    fleet = reduce_all(Fleet(), [event(snapshot), event(put(11, "session", "s1", {"turns": 2}))])

    assert fleet.others["session/s1"] == {"turns": 2}
