"""What a bad host gets: a sentence that says what was tried, what came back, what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbee_agent.errors import (
    EXIT_CONFLICT,
    EXIT_FAILED,
    EXIT_NOT_ALLOWED,
    EXIT_NOT_FOUND,
    EXIT_OK,
    EXIT_PARTLY,
    EXIT_UNREACHABLE,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def host(make_host):
    """A host that each test spoils in its own way."""
    return make_host("odd")


@pytest.fixture
def known(host, operator_key: str, rbee):
    """Add the host, with its key accepted."""
    host.authorize(operator_key)

    async def add(*words: str):
        return await rbee("hive", "add", "odd", "--address", host.address, "--user", "ada", *words)

    return add


async def test_an_unknown_host_is_shown_and_not_trusted(known) -> None:
    """Nobody vouched for the key: it is shown, nothing is kept, and the fingerprint lets it in."""
    refused = await known()
    assert refused.code == EXIT_NOT_ALLOWED
    fingerprint = refused.err.split("--accept-key ", 1)[1].split("`")[0]
    assert fingerprint.startswith("SHA256:")
    wrong = await known("--accept-key", "SHA256:AAAA")
    assert wrong.code == EXIT_NOT_ALLOWED
    assert "another host key" in wrong.err
    right = await known("--accept-key", fingerprint)
    assert right.code == EXIT_OK, right.err
    assert right.err.count("nobody here knows") == 1


async def test_a_changed_host_key_is_refused(known, host, rbee, hermetic: Path, make_host) -> None:
    """A pinned host that shows another key gets nothing from us, whatever is answered."""
    assert (await known("--yes")).code == EXIT_OK
    path = hermetic / ".config/rbee/hives.toml"
    other = make_host("other")
    path.write_text(path.read_text().replace(host.host_key, other.host_key))
    refused = await rbee("hive", "status", "odd")
    assert refused.code == EXIT_NOT_ALLOWED
    assert "has changed" in refused.err
    assert (await known("--yes")).code == EXIT_NOT_ALLOWED


async def test_a_refused_key_and_a_wrong_user(known, host, operator_key: str) -> None:
    """The host does not know the key, or the user: both are told with the command that helps."""
    (host.home / ".ssh/authorized_keys").write_text("")
    refused = await known("--yes")
    assert refused.code == EXIT_NOT_ALLOWED
    assert "ssh-copy-id -p 22 ada@" in refused.err
    host.authorize(operator_key)
    wrong = await known("--yes", "--user", "grace")
    assert wrong.code == EXIT_NOT_ALLOWED
    assert "Wrong user" in wrong.err


async def test_nobody_listens_and_nobody_is_there(rbee, host) -> None:
    """A closed port, an address that nobody has, a name that nobody knows: exit 5 each."""
    closed = await rbee("hive", "add", "odd", "--address", host.address, "--port", "4")
    assert closed.code == EXIT_UNREACHABLE
    assert "nobody listens on port 4" in closed.err
    nobody = await rbee("hive", "add", "odd", "--address", "10.213.77.250")
    assert nobody.code == EXIT_UNREACHABLE
    assert "no way leads to that address" in nobody.err or "no answer in time" in nobody.err
    name = await rbee("hive", "add", "no-such-host.invalid")
    assert name.code == EXIT_UNREACHABLE
    assert "no address is known" in name.err


async def test_an_old_python_is_named(known, host) -> None:
    """Only an old Python there: it is named, with the way to choose another."""
    folder = host.home / "bin"
    folder.mkdir()
    old = folder / "python3"
    old.write_text('#!/bin/sh\necho "3.9"\n')
    old.chmod(0o755)
    host.sshd("SetEnv PATH=/home/ada/bin", port=2301)
    refused = await known("--yes", "--port", "2301")
    assert refused.code == EXIT_CONFLICT
    assert "3.9 (/home/ada/bin/python3)" in refused.err
    assert "--python" in refused.err
    good = await known("--yes", "--port", "2301", "--python", "/usr/bin/python3")
    assert good.code == EXIT_OK, good.err


async def test_a_banner_does_no_harm(known, host, rbee) -> None:
    """A login shell that prints, and a banner before the login: commands and copies still work."""
    profile = host.home / ".bashrc"
    profile.write_text("echo 'WELCOME TO ODD'; echo '{\"result\": 1}'; echo noise >&2\n")
    (host.root / "banner").write_text("Authorized use only\n" * 20)
    host.sshd(f"Banner {host.root}/banner", port=2302)
    try:
        assert (await known("--yes", "--port", "2302")).code == EXIT_OK
        examined = await rbee("hive", "doctor", "odd", "--json")
    finally:
        profile.unlink()
    findings = json.loads(examined.out)["hosts"]["odd"]
    assert examined.code == EXIT_OK, findings


@pytest.mark.parametrize(
    ("options", "check", "words"),
    [
        ("size=64m", "disk", "free at least"),
        ("size=4g,noexec", "exec", "noexec"),
    ],
)
async def test_a_home_that_will_not_do(
    make_host, operator_key: str, rbee, options: str, check: str, words: str
) -> None:
    """A full disk, a home mounted noexec: refused before anything is copied, with the remedy."""
    host = make_host(f"home{check}")
    host.sh(f"mount -t tmpfs -o {options},uid=4211,gid=4211,mode=755 tmpfs /home/ada")
    line = operator_key.replace("'", "")
    host.sh(f"mkdir -m 700 .ssh; echo '{line}' > .ssh/authorized_keys", user="ada")
    added = await rbee("hive", "add", f"ada@{host.address}", "--yes")
    assert added.code == EXIT_OK, added.err
    refused = await rbee("hive", "install", host.address, "--offline")
    assert refused.code == EXIT_CONFLICT
    assert f"{check}: " in refused.err
    assert words in refused.err


async def test_no_compiler(known, host, rbee, hermetic: Path) -> None:
    """No wheel for such a host and no compiler there: refused, with what to install."""
    folder = host.home / "few"
    folder.mkdir()
    for tool in ("sh", "cat", "mkdir", "dirname", "mv", "sha256sum", "python3"):
        (folder / tool).symlink_to(f"/usr/bin/{tool}")
    host.sshd("SetEnv PATH=/home/ada/few", port=2303)
    (hermetic / ".cache/rbee/wheels").unlink()
    assert (await known("--yes", "--port", "2303")).code == EXIT_OK
    refused = await rbee("hive", "install", "odd")
    assert refused.code == EXIT_CONFLICT
    assert "no C++ compiler" in refused.err


async def test_an_older_rbee_is_named(known, host, rbee) -> None:
    """A host with an older rbee: the doctor says so, with the command that mends it."""
    version = host.home / ".local/share/rbee/versions/0.0.9"
    version.mkdir(parents=True)
    (version / "rbee-installed.json").write_text(json.dumps({"version": "0.0.9", "name": "0.0.9"}))
    (version.parents[1] / "current").symlink_to("versions/0.0.9")
    assert (await known("--yes")).code == EXIT_OK
    examined = await rbee("hive", "doctor", "odd", "--json")
    findings = {each["name"]: each for each in json.loads(examined.out)["hosts"]["odd"]}
    assert examined.code == EXIT_FAILED
    assert "older" in findings["rbee"]["found"]
    assert findings["rbee"]["remedy"] == "rbee hive update odd"


async def test_one_bad_host_does_not_stop_the_others(known, rbee) -> None:
    """One of two hosts is not there: the other is done, exit 8; a typo gets the near names."""
    assert (await known("--yes")).code == EXIT_OK
    path = Path.home() / ".config/rbee/hives.toml"
    path.write_text(path.read_text() + '\n[hosts.gone]\naddress = "127.0.0.1"\nport = 4\n')
    done = await rbee("hive", "status", "--all", "--json")
    assert done.code == EXIT_PARTLY
    assert set(done.document()["hosts"]) == {"odd"}
    assert done.document()["failed"]["gone"]["code"] == "UNREACHABLE"
    typo = await rbee("hive", "status", "gon")
    assert typo.code == EXIT_NOT_FOUND
    assert "gone" in typo.err
