"""A queen on a control node: installed and started over SSH, used as if she ran here."""

from __future__ import annotations

import pytest

from tests.hosts.conftest import allow
from tests.hosts.duo import LONG_ANSWER, Duo, until

pytestmark = [pytest.mark.root, pytest.mark.model, pytest.mark.timeout(300)]


def test_a_queen_on_a_control_node(duo: Duo, make_host) -> None:
    """The keeper's commands reach her through a tunnel, and she reaches the hosts by herself.

    The tunnel is lost and comes back; the stream that she holds meanwhile is whole.
    """
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    keeper, hub = duo.keeper, make_host("hub")
    allow(keeper, hub)
    keeper.ok("hive", "add", "hub", "--address", hub.address, "--user", "ada", "--yes")
    nothing = hub.listing()
    keeper.ok("queen", "install", "--host", "hub", "--offline")
    refused = keeper.rbee("queen", "start", "--host", "hub")
    assert refused.returncode == 7
    assert "rbee queen stop" in refused.stderr
    keeper.ok("queen", "stop")
    keeper.ok("queen", "start", "--host", "hub")
    status = keeper.document("queen", "status", "--host", "hub")
    assert (status["running"], status["linked"]) == (True, True)
    keeper.ok("hive", "start", "left", "right")
    duo.until_serving()
    assert duo.lives() == before
    assert keeper.ok(*LONG_ANSWER) == whole
    stream = duo.stream()
    hub.end_sshd()
    assert keeper.rbee("ps", timeout=60).returncode == 5
    hub.sshd()
    until(lambda: keeper.rbee("ps").returncode == 0, 30.0)
    assert stream.rest() == whole
    duo.until_serving()
    keeper.ok("queen", "uninstall", "--host", "hub", "--yes")
    assert hub.listing() == nothing
    assert keeper.rbee("ps").returncode == 5
    keeper.ok("hive", "rm", "hub", "--yes")
    keeper.ok("queen", "start")
    duo.until_serving()
    assert duo.lives() == before
