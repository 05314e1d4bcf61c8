"""Which host is meant by what is typed."""

from __future__ import annotations

from rbee_tui.screens.add_host import hosts_typed
from rbee_tui.widgets.picker import Option

KNOWN = [Option(name, name, "in your ~/.ssh/config") for name in ("gpu-1", "gpu-2", "attic")]


def test_the_beginning_of_a_known_name_means_that_host() -> None:
    """Enter behind `gpu` takes gpu-1, which exists; a host called `gpu` is further down."""
    assert [o.value for o in hosts_typed("gpu", KNOWN)] == ["gpu-1", "gpu-2", "gpu"]
    assert hosts_typed("attic", KNOWN) == [KNOWN[2]]


def test_a_name_that_nobody_knows_is_taken_as_it_is() -> None:
    """As one would say it to ssh, with a user in front."""
    assert [o.value for o in hosts_typed("ada@10.0.0.5", KNOWN)] == ["ada@10.0.0.5"]
    assert hosts_typed("", KNOWN) == []
