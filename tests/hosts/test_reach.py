"""Reaching hosts: real sshd, real failures, each a sentence."""

from __future__ import annotations

import pytest

from rbee_agent.ssh.shell import Shell
from rbee_agent.ssh.target import Target

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host(make_host):
    """A host that nobody changes."""
    return make_host("reach")


def target_of(host, **changes) -> Target:
    known = {"address": host.address, "user": "ada", "host_key": host.host_key} | changes
    return Target("reach", **known)


async def test_a_command_runs_as_the_user(host, operator_key: str) -> None:
    """What a command prints comes back, with its exit code."""
    host.authorize(operator_key)
    async with await Shell.open(target_of(host)) as shell:
        ran = await shell.run("id -un; pwd; exit 3", timeout=20)
    assert (ran.code, ran.out) == (3, b"ada\n/home/ada\n")
