"""``rbee hive …`` against a real host, without a queen."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.hosts.duo import until
from tests.hosts.ssh_host import SshHost

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


def processes(host: SshHost) -> str:
    """What the user runs there."""
    return host.sh("ps -u 4211 -o args= || true")


@pytest.fixture
async def host(make_host, operator_key: str) -> SshHost:
    """A host in use: folders, a file, and a login shell that talks."""
    made = make_host("cmd")
    made.authorize(operator_key)
    made.sh("mkdir .cache .local; echo mine > .local/file", user="ada")
    made.sh("echo \"echo 'WELCOME'; echo '{}'; echo noise >&2\" > .bashrc", user="ada")
    return made


async def test_from_add_to_uninstall(host: SshHost, begin, rbee) -> None:
    """A bare host gets a running hive, whatever interrupts; at the end all is as it was."""
    before = host.listing()
    added = await rbee("hive", "add", f"ada@{host.address}", "--yes")
    assert added.code == 0, added.err
    assert "host key pinned" in added.out
    # Ctrl-C, then a keeper that is killed, each in the middle of it: the host is left in peace.
    words = ("hive", "install", host.address, "--offline")
    for sign, step, code in (
        (signal.SIGINT, b"making a virtual environment", 130),
        (signal.SIGKILL, b"installing packages", -9),
    ):
        installing = await begin(*words)
        async with asyncio.timeout(100):
            while step not in (line := await installing.stderr.readline()):
                assert line, "it ended before that step"
        installing.send_signal(sign)
        await installing.communicate()
        assert installing.returncode == code
        await asyncio.to_thread(until, lambda: "pip" not in processes(host), 10.0)
        assert not (host.home / ".local/share/rbee/current").exists()
    installed = await rbee(*words, "--json")
    assert installed.code == 0, installed.err
    result = installed.document()["hosts"][host.address]
    assert result["state"] == "running"
    whole = [path for path in host.listing() if "__pycache__" not in path]
    again = await rbee(*words)
    assert (again.code, "is installed already" in again.err) == (0, True)
    assert [path for path in host.listing() if "__pycache__" not in path] == whole
    examined = await rbee("hive", "doctor", "--json")
    assert examined.code == 0, examined.out
    status = (await rbee("hive", "status", "--json")).document()["hosts"][host.address]
    assert (status["state"], status["node_id"]) == ("running", result["node_id"])
    logs = await rbee("hive", "logs", host.address, "-n", "5")
    assert "127.0.0.1:9200" in logs.out, logs.err
    removed = await rbee("hive", "uninstall", host.address, "--yes")
    assert removed.code == 0, removed.err
    assert host.listing() == before
    assert "rbee" not in processes(host)
