"""A host's life: from nothing installed to a running hive, and back to nothing."""

from __future__ import annotations

import pytest

from rbee_agent.ssh.shell import Shell
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.install import install
from rbee_tui.fleet.remote import Remote

pytestmark = pytest.mark.root


async def test_install_start_stop_uninstall(
    make_host, operator_key: str, wheel_store, own_package
) -> None:
    """Installed offline, a hive starts, answers its health, stops; then the home is as before."""
    host = make_host("life")
    host.authorize(operator_key)
    before = host.listing()
    said: list[str] = []
    entry = Host("life", address=host.address, user="ada", host_key=host.host_key)
    async with await Shell.open(entry.target) as shell:
        remote = Remote(entry, shell, said.append)
        seen = await remote.look()
        assert seen["backend"]["name"] == "cpu"
        first = await install(remote, own_package, wheel_store, offline=True)
        assert (first["switched"], first["already"]) == (True, False)
        again = await install(remote, own_package, wheel_store, offline=True)
        assert (again["switched"], again["already"]) == (False, True)
        record = await remote.start("hive", {})
        assert record["url"] == "http://127.0.0.1:9200"
        health = host.sh(
            f"curl -sf -H 'Authorization: Bearer {record['token']}' {record['url']}/health"
        )
        assert health
        assert (await remote.status("hive"))["kept"] == "supervisor"
        stopped = await remote.stop("hive")
        assert stopped == {"was_running": True, "gently": True}
        assert not (await remote.status("hive"))["running"]
        await remote.remove(purge_models=False)
    assert host.listing() == before
