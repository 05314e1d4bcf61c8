"""``rbee hive …`` against real hosts, without a queen."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


async def test_from_add_to_uninstall(make_host, operator_key: str, rbee) -> None:
    """Two commands bring a bare host to a running hive; uninstall leaves what was there before."""
    host = make_host("cmd")
    host.authorize(operator_key)
    host.sh("mkdir .cache .local; echo mine > .local/file", user="ada")
    before = host.listing()
    added = await rbee("hive", "add", f"ada@{host.address}", "--yes")
    assert added.code == 0, added.err
    assert "host key pinned" in added.out
    installed = await rbee("hive", "install", host.address, "--offline", "--json")
    assert installed.code == 0, installed.err
    result = installed.document()["hosts"][host.address]
    assert result["state"] == "running"
    examined = await rbee("hive", "doctor", "--json")
    assert examined.code == 0, examined.out
    status = (await rbee("hive", "status", "--json")).document()["hosts"][host.address]
    assert (status["state"], status["node_id"]) == ("running", result["node_id"])
    logs = await rbee("hive", "logs", host.address, "-n", "5")
    assert "127.0.0.1:9200" in logs.out, logs.err
    removed = await rbee("hive", "uninstall", host.address, "--yes")
    assert removed.code == 0, removed.err
    assert host.listing() == before
