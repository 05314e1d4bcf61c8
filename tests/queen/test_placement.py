"""Placement: a pure function; its choices, its refusals and its reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.contracts.tasks import PlacementWish
from rbee_agent.queen.placement import (
    ModelIndex,
    Need,
    WorkerView,
    as_data,
    decide,
    explain,
    filter_reason,
)

BASE = WorkerView(
    id="w1", node_id="n1", pool_id="p1", model="m", state="ready", slots=4, busy=0, context=4096
)


def view(name: str, **changes) -> WorkerView:
    return replace(BASE, id=name, **changes)


def wish(**fields) -> PlacementWish:
    return PlacementWish(**fields)


def test_no_worker_of_the_model():
    """Nobody has it: the outcome says that waiting alone is no use."""
    assert decide(None, Need("m")).outcome == "none"


def test_the_least_busy_one_wins():
    """Among equal workers load decides."""
    index = ModelIndex([view("a", busy=2), view("b", busy=1), view("c", busy=3)])
    assert decide(index, Need("m")).worker_id == "b"


def test_ties_go_to_the_lower_id():
    """The same fleet gives the same choice, always."""
    index = ModelIndex([view("b"), view("a"), view("c")])
    assert decide(index, Need("m")).worker_id == "a"


def test_a_warm_session_outweighs_some_load():
    """The worker that holds the prefix is taken although another is idler."""
    index = ModelIndex([view("a"), view("b", busy=2)])
    assert decide(index, Need("m", warm_worker="b")).worker_id == "b"
    full = ModelIndex([view("a"), view("b", busy=4)])
    assert decide(full, Need("m", warm_worker="b")).worker_id == "a"


def test_a_worker_in_trouble_is_not_least_loaded():
    """One that just broke a stream has no load and gets no task."""
    index = ModelIndex([view("a", trouble="it died"), view("b", busy=3)])
    assert decide(index, Need("m")).worker_id == "b"


@pytest.mark.parametrize(
    ("changes", "need", "name"),
    [
        ({"state": "loading"}, Need("m"), "state"),
        ({"node_state": "draining"}, Need("m"), "node"),
        ({"node_state": "suspect"}, Need("m"), "node"),
        ({"busy": 4}, Need("m"), "slots"),
        ({}, Need("m", wish=wish(mode="pin", worker_id="x")), "pin"),
        ({}, Need("m", wish=wish(mode="pin", pool_id="x")), "pin"),
        ({}, Need("m", wish=wish(mode="pin", device="cuda:0")), "pin"),
        ({}, Need("m", wish=wish(avoid_pools=["p1"])), "avoid_pools"),
        ({}, Need("m", wish=wish(region="mars")), "region"),
        ({}, Need("m", wish=wish(device="cuda")), "device"),
        ({}, Need("m", context=9999), "context"),
        ({"fingerprint": "x"}, Need("m", fingerprint="y"), "fingerprint"),
        ({"profile": "x"}, Need("m", profile="y"), "profile"),
        ({"resume": "none"}, Need("m", resumes=True), "resume"),
        ({"trouble": "it lied"}, Need("m"), "trouble"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_filter_names_itself(changes, need, name):
    """Whoever is kept off is told by which filter, in a sentence."""
    found = filter_reason(view("w1", **changes), need)
    assert found is not None
    assert found[0] == name
    assert len(found[1]) > 10


def test_a_pin_never_falls_back_silently():
    """The pinned worker is busy: the task waits for it, whoever else is idle."""
    index = ModelIndex([view("a", busy=4), view("b")])
    decision = decide(index, Need("m", wish=wish(mode="pin", worker_id="a")))
    assert decision.worker_id is None
    assert decision.outcome == "wait"
    assert "busy" in decision.reason


def test_a_preference_is_a_preference():
    """A preferred pool wins over load, but a full one does not hold the task up."""
    prefer = Need("m", wish=wish(prefer_pools=["p2"]))
    index = ModelIndex([view("a"), view("b", pool_id="p2", busy=3)])
    assert decide(index, prefer).worker_id == "b"
    full = ModelIndex([view("a"), view("b", pool_id="p2", busy=4)])
    assert decide(full, prefer).worker_id == "a"


def test_round_robin_takes_turns():
    """Each decision goes to the next one."""
    index = ModelIndex([view(name) for name in "abc"])
    chosen = [decide(index, Need("m"), strategy="round-robin", turn=n).worker_id for n in range(6)]
    assert chosen == ["a", "b", "c", "a", "b", "c"]


def test_vram_aware_takes_the_emptiest_device():
    """Free memory decides, not load."""
    index = ModelIndex([view("a", memory_free=1), view("b", memory_free=9, busy=2)])
    assert decide(index, Need("m"), strategy="vram-aware").worker_id == "b"


def test_the_reasons_name_every_candidate():
    """Explain shows the chosen one, the runner-up with its score and the refused with why."""
    index = ModelIndex([view("a"), view("b", busy=1), view("c", state="loading")])
    rows = {row["worker_id"]: row for row in explain(decide(index, Need("m")))}
    assert rows["a"]["chosen"]
    assert rows["b"]["score"] > rows["a"]["score"]
    assert rows["c"]["filter"] == "state"
    assert as_data(decide(index, Need("m")))["workers_of_the_model"] == 3


VIEWS = st.builds(
    replace,
    st.just(BASE),
    id=st.text("abcdefgh", min_size=1, max_size=6),
    busy=st.integers(0, 4),
    tokens_per_s=st.floats(0, 100),
    state=st.sampled_from(["ready", "loading"]),
    trouble=st.sampled_from([None, "died"]),
    region=st.sampled_from([None, "eu"]),
)
NEEDS = st.builds(
    Need,
    model=st.just("m"),
    wish=st.sampled_from([PlacementWish(), PlacementWish(region="eu")]),
    warm_worker=st.one_of(st.none(), st.text("abcdefgh", min_size=1, max_size=6)),
)


@given(st.lists(VIEWS, max_size=20), NEEDS)
def test_it_never_takes_whom_a_filter_refuses(views, need):
    """The index is a shortcut, not another rule: a usable worker is found if there is one."""
    by_id = {view.id: view for view in views}
    decision = decide(ModelIndex(views), need)
    usable = {name for name, v in by_id.items() if filter_reason(v, need) is None}
    if usable:
        assert decision.worker_id in usable
    else:
        assert decision.worker_id is None


@given(st.lists(VIEWS, max_size=30), st.lists(st.text("abcdefgh", min_size=1, max_size=6)))
def test_the_index_holds_what_was_put_last(views, removed):
    """After any puts and removals it lists exactly the living, best first."""
    index = ModelIndex(views)
    for name in removed:
        index.remove(name)
    expected = {view.id: view for view in views}
    for name in removed:
        expected.pop(name, None)
    assert {v.id: v for v in index} == expected
    assert [v.key for v in index] == sorted(v.key for v in expected.values())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans()), max_size=30))
def test_the_index_counts_the_slots_of_usable_workers(changes):
    """Whatever was put, replaced or removed: the sums are those of the workers that are there."""
    index = ModelIndex()
    there: dict[str, WorkerView] = {}
    for number, busy, usable in changes:
        name = f"w{number}"
        if busy > 3:
            index.remove(name)
            there.pop(name, None)
            continue
        view = WorkerView(name, "n", "p", "m", "ready" if usable else "loading", 4, busy)
        index.put(view)
        there[name] = view
    ready = [view for view in there.values() if view.usable]
    assert (index.slots, index.busy) == (4 * len(ready), sum(view.busy for view in ready))
