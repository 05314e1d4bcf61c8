"""The control center, from an empty queen to a second machine's tokens, with keys alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.e2e.tmux import Tmux, lines
from tests.hosts.ssh_host import SshHost

pytestmark = [
    pytest.mark.root,
    pytest.mark.model,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux (apt-get install tmux)"),
]


@pytest.fixture
def bare(
    keeper: LiveFleet,
    make_host: Callable[..., SshHost],
    operator_of: Callable[[LiveFleet, SshHost], None],
    index: str,
) -> SshHost:
    """A machine that has nothing but sshd and lets the operator in; ssh knows it as gpu-1."""
    host = make_host("gpu-1")
    operator_of(keeper, host)
    host.use_index(index)
    (keeper.root / ".ssh/config").write_text(
        f"Host gpu-1\n  HostName {host.address}\n  User ada\n", "utf-8"
    )
    return host


@pytest.fixture
def tmux(keeper: LiveFleet) -> Iterator[Tmux]:
    """The control center on the keeper's queen, 80 by 24."""
    keeper.ok("queen", "start")
    made = Tmux(keeper)
    try:
        yield made
    finally:
        made.end()


def test_a_bare_host_is_added_and_serves_with_keys_alone(
    keeper: LiveFleet, bare: SshHost, tmux: Tmux
) -> None:
    """Add a host, spawn, stream, kill its worker and see the stream go on, cancel, quit."""
    tmux.until("no host yet: 2, then a, adds one over SSH")
    tmux.press("2", "a")
    tmux.until("add a host")
    tmux.type("gpu")
    tmux.until("in your ~/.ssh/config")
    tmux.press("Enter")
    tmux.until("$ rbee hive add gpu-1 --install")
    tmux.press("y")
    tmux.until("SHA256:")
    tmux.type("y")
    tmux.press("Enter")
    tmux.until("$ rbee hive install gpu-1")
    told = tmux.until("c copies, Esc closes", seconds=200)
    assert "3, then n, starts a worker on it" in told, told
    tmux.press("g")
    tmux.until("$ rbee hive doctor gpu-1")
    tmux.press("Escape")
    tmux.until(lambda screen: bool(lines(screen, "● gpu-1")))

    tmux.press("3")
    tmux.until("no worker yet: n starts one")
    tmux.press("n")
    tmux.until("a worker of which model?")
    tmux.type(MODEL)
    tmux.press("Enter")
    tmux.until("where it fits best")
    tmux.press("Enter")
    tmux.until("do nothing (n)")
    tmux.press("y")
    tmux.until("● ready")

    tmux.press("p")
    tmux.until("type a prompt")
    tmux.type("Tell a very long story about bees.")
    tmux.press("Enter")
    told_at = tokens(tmux.until(lambda screen: tokens(screen) > 0))
    bare.sh("pkill -KILL -u ada -f rbee_agent.worker")
    tmux.until("↻1")
    tmux.until(lambda screen: tokens(screen) > told_at)
    tmux.press("Escape")
    tmux.until("p: send a prompt")
    tmux.press("x")
    tmux.until("do nothing (n)")
    tmux.press("y")
    tmux.until("⊘")
    tmux.press("q")
    tmux.until("ended with 0")

    assert [task["state"] for task in keeper.document("task", "ls")["tasks"]] == ["cancelled"]


def tokens(screen: str) -> int:
    """How many tokens the stream's title tells of."""
    found = re.search(r"(\d+) tok ", screen)
    return int(found.group(1)) if found else 0
