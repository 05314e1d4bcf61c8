"""Other ways onto a host: a jump host, a package index, a password, an update, a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rbee_agent.testing.live_fleet import LiveFleet

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inner(keeper: LiveFleet, make_host, operator_of, index: str):
    """A host behind a jump host, installed from an index; the queen reaches it the same way."""
    gate, inner = make_host("gate"), make_host("inner")
    inner.sh("ip route add blackhole 10.213.77.1/32")
    for host in (gate, inner):
        operator_of(keeper, host)
    (keeper.root / ".ssh/known_hosts").write_text(f"{gate.address} {gate.host_key}\n")
    (keeper.root / ".ssh/config").write_text(
        f"Host gate\n  HostName {gate.address}\n  User ada\n"
        f"Host inner\n  HostName {inner.address}\n  User ada\n  ProxyJump gate\n"
    )
    keeper.ok("queen", "start")
    assert "inner" in keeper.ok("hive", "import").split()
    keeper.ok("hive", "import", "inner", "--yes")
    # The index lives where the black hole is, so the wheels go along; the index has another test.
    keeper.ok("hive", "install", "inner", "--offline")
    inner.gate = gate
    return inner


@pytest.mark.slow
def test_through_a_jump_host(keeper: LiveFleet, inner) -> None:
    """Imported from ~/.ssh/config with ProxyJump; the queen passes it with her own key."""
    nodes = keeper.document("hive", "ls")["nodes"]
    assert [(node["hostname"], node["state"]) for node in nodes] == [("inner", "online")]
    lines = (inner.gate.home / ".ssh/authorized_keys").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("restrict,port-forwarding,")
    assert lines[1].count("permitopen=") == 1
    assert f'permitopen="{inner.address}:22"' in lines[1]
    inside = (inner.home / ".ssh/authorized_keys").read_text().splitlines()[1]
    assert 'permitopen="127.0.0.1:9200"' in inside
    assert inside.startswith("restrict,")


@pytest.mark.slow
def test_uninstall_tidies_the_jump_host_too(keeper: LiveFleet, inner) -> None:
    """The queen's lines go from the host and from the one on the way; the operator's stay."""
    keeper.ok("hive", "uninstall", "inner", "--yes")
    for host in (inner, inner.gate):
        lines = (host.home / ".ssh/authorized_keys").read_text().splitlines()
        assert len(lines) == 1
        assert "rbee-queen" not in lines[0]
    assert keeper.document("hive", "ls")["nodes"] == []


def test_a_password_asked_for_once(keeper: LiveFleet, make_host) -> None:
    """--copy-key leaves the operator's key on a host that knew only a password."""
    host = make_host("pass")
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input="s3cret\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    host.set_password(hashed)
    words = ("hive", "add", "pass", "--address", host.address, "--user", "ada", "--yes")
    assert keeper.rbee(*words).returncode == 4
    wrong = keeper.rbee(*words, "--copy-key", stdin="wrong\n")
    assert wrong.returncode == 4
    right = keeper.rbee(*words, "--copy-key", stdin="s3cret\n")
    assert right.returncode == 0, right.stderr
    assert "s3cret" not in right.stdout + right.stderr
    assert (host.home / ".ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
async def test_one_host_of_a_kind_builds_for_all(
    make_host, operator_key: str, rbee, hermetic: Path, index: str
) -> None:
    """Two bare hosts at once: one makes the llama.cpp wheel, it is fetched, the other gets it."""
    (hermetic / ".cache/rbee/wheels").unlink()
    hosts = [make_host("one"), make_host("two")]
    for host in hosts:
        host.authorize(operator_key)
        words = ("--address", host.address, "--user", "ada", "--yes")
        assert (await rbee("hive", "add", host.name, *words)).code == 0
    done = await rbee("hive", "install", "--all", "--index", index, "--no-start")
    assert done.code == 0, done.err
    assert done.err.count("compiling llama.cpp") == 1
    assert done.err.count("fetching the compiled wheel") == 1
    assert done.err.count("copying llama_cpp_python") == 1
    kinds = list((hermetic / ".cache/rbee/wheels/llama").iterdir())
    assert [len(list(kind.glob("*.whl"))) for kind in kinds] == [1]


@pytest.mark.slow
def test_from_a_checkout(keeper: LiveFleet, make_host, operator_of, index: str) -> None:
    """A clone on the host is installed; a new commit is pulled, built and switched to."""
    host = make_host("source")
    operator_of(keeper, host)
    bare = host.home / "rbee.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(bare)], check=True)
    # A checkout of CI's may be on no branch at all.
    for words in (["branch", "-f", "main", "HEAD"], ["symbolic-ref", "HEAD", "refs/heads/main"]):
        subprocess.run(["git", "-C", str(bare), *words], check=True)
    subprocess.run(["chown", "-R", "4211:4211", str(bare)], check=True)
    keeper.ok("hive", "add", "source", "--address", host.address, "--user", "ada", "--yes")
    url = "/home/ada/rbee.git"
    keeper.ok("hive", "install", "source", "--from-git", url, "--index", index, "--no-start")
    first = keeper.document("pool", "git", "status", "--host", "source")
    assert (first["url"], first["changed"]) == (url, False)
    current = host.home / ".local/share/rbee/current"
    assert current.readlink().name == f"git-{first['commit'][:12]}"
    identity = "-c user.name=t -c user.email=t@example.org"
    host.sh(
        f"cd /home/ada && git clone -q {url} w && cd w && echo '# more' >> README.md && "
        f"git {identity} commit -qam more && git push -q",
        user="ada",
    )
    pulled = keeper.document("pool", "git", "pull", "--host", "source")
    assert pulled["before"] == first["commit"] != pulled["commit"]
    keeper.ok("pool", "git", "build", "--host", "source", "--index", index)
    assert current.readlink().name == f"git-{pulled['commit'][:12]}"
