"""Devices by the names that users and hives give them."""

from __future__ import annotations

import pytest

from rbee_agent.engine import devices
from rbee_agent.engine.devices import Device, find
from rbee_agent.errors import Refused


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that sees two CUDA cards and one Metal GPU."""
    there = [Device("cuda:0", 1, 10), Device("cuda:1", 2, 20), Device("metal", 3, 30)]
    monkeypatch.setattr(devices, "every", lambda: there)


@pytest.mark.usefixtures("two_kinds")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cpu", []),
        ("cuda", [1]),
        ("cuda:0", [1]),
        ("cuda:1", [2]),
        ("metal", [3]),
        ("metal:0", [3]),
    ],
)
def test_a_device_is_found_by_its_name(wanted: str, found: list[int]) -> None:
    """No number means the first; a hive says `metal:0`."""
    assert [one.handle for one in find(wanted)] == found


@pytest.mark.usefixtures("two_kinds")
def test_a_split_takes_all_of_a_kind() -> None:
    """Never a card of another kind."""
    assert [one.handle for one in find("cuda:0", spread=True)] == [1, 2]


@pytest.mark.usefixtures("two_kinds")
@pytest.mark.parametrize("wanted", ["cuda:2", "vulkan:0", "cuda:x", "", "metal:1"])
def test_what_is_not_there_is_refused_by_name(wanted: str) -> None:
    """The refusal names what there is."""
    with pytest.raises(Refused, match="it sees cpu, cuda:0, cuda:1, metal"):
        find(wanted)
