"""A host whose hive listens on the LAN: set up over SSH, then reached without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.hosts.duo import LONG_ANSWER, PROMPT, SPAWN, Duo, until
from tests.hosts.ssh_host import NET, SshHost

pytestmark = [pytest.mark.root, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(400)]

SHORT_ANSWER = ("infer", "-m", MODEL, *PROMPT, "--max-tokens", "16")


@pytest.fixture(scope="module")
def lan(keeper: LiveFleet, make_host, operator_of, demo_model) -> Duo:
    """One such host with a worker; its queen listens, too."""
    keeper.env["RBEE_QUEEN_LISTEN"] = f"{NET}.1:8443"
    keeper.ok("queen", "start")
    host = make_host("lan")
    operator_of(keeper, host)
    host.give_model(demo_model)
    words = ("--address", host.address, "--user", "ada", "--yes", "--install", "--offline")
    keeper.ok("hive", "add", "lan", *words, "--listen", host.address)
    keeper.ok("pool", "models", "register", MODEL, host.model, "--host", "lan")
    keeper.ok(*SPAWN, "--host", "lan")
    return Duo(keeper, host, host)


def open_to_others(host: SshHost) -> set[int]:
    """The ports of a host that other machines may reach."""
    listening = host.sh("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    ends = [line.split()[1].split(":") for line in listening if " 0A " in line]
    return {int(port, 16) for address, port in ends if address != "0100007F"}


def test_one_port_and_no_key(lan: Duo) -> None:
    """The hive's port and sshd are open, the queen has no login; heartbeats and tokens come."""
    assert open_to_others(lan.left) == {22, 9201}
    assert "rbee-queen" not in lan.home_file(lan.left, ".ssh/authorized_keys")
    assert lan.ask_queen("/v2/hosts").json()["hosts"] == []
    until(lambda: "registered" in lan.home_file(lan.left, ".local/state/rbee/logs/hive.log"), 20.0)
    assert lan.states() == {"lan": "online"}
    assert lan.keeper.ok(*SHORT_ANSWER)


def test_ssh_is_for_the_keeper_alone(lan: Duo) -> None:
    """Without sshd tokens come as before."""
    lan.left.end_sshd()
    try:
        assert lan.keeper.ok(*SHORT_ANSWER)
        assert lan.states() == {"lan": "online"}
    finally:
        lan.left.sshd()


def test_a_cut_link_and_its_return(lan: Duo) -> None:
    """Offline within 5 s, back with the same worker, which is counted once."""
    before = lan.lives()
    lan.left.link(up=False)
    try:
        took = until(lambda: lan.states()["lan"] == "offline", 20.0)
    finally:
        lan.left.link(up=True)
    print(f"\nnoticed after {took:.1f} s")
    lan.until_online(lan.left)
    until(lambda: lan.lives() == before, 20.0)
    assert lan.keeper.ok(*SHORT_ANSWER)


def test_a_bad_cable_moves_nothing(lan: Duo) -> None:
    """200 ms and 5 % loss each way: new streams and old ones, and the host is never lost."""
    before = lan.lives()
    whole = lan.answer()
    with lan.watched() as pictures, lan.left.bad_cable(200, 0.05):
        assert lan.keeper.ok(*LONG_ANSWER) == whole
        assert lan.keeper.ok(*LONG_ANSWER) == whole
    assert "offline" not in {picture["lan"] for picture in pictures}
    assert lan.lives() == before


def test_and_by_ssh_again(lan: Duo, operator_of: Callable[[LiveFleet, SshHost], None]) -> None:
    """`--listen none`, then start: the port is closed, the worker is the same, SSH leads to it."""
    before = lan.lives()
    lan.keeper.ok("hive", "add", "lan", "--listen", "none", "--yes")
    lan.keeper.ok("hive", "start", "lan")
    assert open_to_others(lan.left) == {22}
    lan.until_online(lan.left)
    until(lambda: lan.lives() == before, 20.0)
    assert lan.keeper.ok(*SHORT_ANSWER)
    lan.keeper.ok("hive", "add", "lan", "--listen", lan.left.address, "--yes")
    lan.keeper.ok("hive", "start", "lan")
    lan.until_online(lan.left)
    assert "rbee-queen" not in lan.home_file(lan.left, ".ssh/authorized_keys")
    lan.keeper.ok("hive", "uninstall", "lan", "--yes")
    assert lan.keeper.document("hive", "ls")["nodes"] == []
    assert not (lan.left.home / ".local/state/rbee").exists()
