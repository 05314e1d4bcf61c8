"""Real hosts without machines: OpenSSH servers in network namespaces.

Each host has its own network, loopback, mount, process and UTS namespace, its own users and an
empty home. A bridge of ours joins them; no packet leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from rbee_tui.fleet.install import Package
from rbee_tui.fleet.wheels import Kind, Wheels, llama_requirement
from tests.hosts import package_index
from tests.hosts.duo import SPAWN, Duo
from tests.hosts.ssh_host import NET, SshHost, boot, run, tool

_LONG = bool(os.environ.get("RBEE_LONG"))
_XDG_CACHE = os.environ.get("XDG_CACHE_HOME")
_REAL_HOME = Path.home()
_NEEDED = ("ip", "sshd", "ssh-keygen", "setpriv", "unshare", "nsenter", "mount")


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    gone = [name for name in _NEEDED if tool(name) is None]
    if gone:
        return f"needs {', '.join(gone)} (apt-get install openssh-server iproute2 util-linux)"
    return None


MakeHost = Callable[..., SshHost]
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def bridge() -> Iterator[str]:
    """A network of our own; its name. Skips where namespaces cannot be had."""
    reason = _missing()
    if reason:
        pytest.skip(reason)
    for left in Path("/sys/class/net").glob("rbt*"):
        if not Path("/proc", left.name.removeprefix("rbt")).exists():
            run("ip", "link", "delete", left.name)  # of a session that was killed
    name = f"rbt{os.getpid()}"
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "address", "add", f"{NET}.1/24", "dev", name)
    run("ip", "link", "set", name, "up")
    try:
        yield name
    finally:
        run("ip", "link", "delete", name)


@pytest.fixture(scope="session")
def make_host(bridge: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeHost]:
    """Make hosts; all are gone at the end of the session."""
    made: list[SshHost] = []

    def make(name: str, *, sshd: bool = True, shell: str = "/bin/bash") -> SshHost:
        host = boot(bridge, tmp_path_factory.mktemp(name), name, len(made) + 11, shell)
        made.append(host)
        if sshd:
            host.sshd()
        return host

    try:
        yield make
    finally:
        for host in made:
            host.halt()


@pytest.fixture
def operator_key(hermetic: Path) -> str:
    """The operator's key pair in the usual place; the public line."""
    folder = hermetic / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id_ed25519"))
    return (folder / "id_ed25519.pub").read_text().strip()


@pytest.fixture(scope="session")
def wheel_store() -> Wheels:
    """The keeper's wheels, kept between runs: llama.cpp is compiled for this machine once."""
    cache = Path(_XDG_CACHE) if _XDG_CACHE else _REAL_HOME / ".cache"
    store = Wheels(cache / "rbee-tests" / "wheels")
    kind = Kind.of(_facts_here(), "cpu")
    if store.llama(kind) is None:
        folder = store.llama_folder(kind)
        folder.mkdir(parents=True, exist_ok=True)
        run(
            *[sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"],
            *[str(folder), llama_requirement()],
            timeout=3000,
        )
    return store


@pytest.fixture(scope="session")
def own_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """This rbee's wheel."""
    return asyncio.run(Package.own(tmp_path_factory.mktemp("own")))


def _facts_here() -> dict[str, object]:
    """What the doctor would see on a host of this machine's kind."""
    code = (
        "from rbee_tui.fleet.onhost import look; from rbee_tui.fleet import preflight; import json"
    )
    code += "; print(json.dumps({**preflight.facts(), 'cpu': look.cpu_features()}))"
    root = str(Path(__file__).resolve().parents[2])
    out = subprocess.run(
        ["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True, cwd=root
    ).stdout
    facts: dict[str, object] = json.loads(out)
    return facts


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        return json.loads(self.out)


Begin = Callable[..., Awaitable[asyncio.subprocess.Process]]
Rbee = Callable[..., Awaitable[Done]]


@pytest.fixture
def begin(hermetic: Path, wheel_store) -> Begin:
    """Begin ``rbee ARGS`` as the operator whose key the hosts know; nobody's queen is near."""
    cache = hermetic / ".cache" / "rbee"
    cache.mkdir(parents=True)
    (cache / "wheels").symlink_to(wheel_store.folder)

    async def start(*words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "rbee_tui", *words],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ) | {"RBEE_QUEEN_URL": "http://127.0.0.1:9"},
        )

    return start


@pytest.fixture
def rbee(begin: Begin) -> Rbee:
    """Run ``rbee ARGS`` to its end, as `begin` does."""

    async def run(*words: str, stdin: str = "", timeout: float = 200.0) -> Done:
        process = await begin(*words)
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return run


@contextlib.contextmanager
def keeper_of(root: Path, wheels: Wheels) -> Iterator[LiveFleet]:
    """A keeper with folders of its own; a queen that it starts ends with it."""
    made = LiveFleet(root)
    (root / ".cache/rbee").mkdir(parents=True)
    (root / ".cache/rbee/wheels").symlink_to(wheels.folder)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(_ssh(root) / "id_ed25519"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, wheel_store: Wheels) -> Iterator[LiveFleet]:
    """A keeper for the tests of one file."""
    with keeper_of(tmp_path_factory.mktemp("keeper"), wheel_store) as made:
        yield made


@dataclass
class Standing:
    """The two hosts that stand, or nothing after a test has left them another way."""

    duo: Duo | None = None
    behind: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def end(self) -> None:
        """Take them down; the next test that wants them gets new ones."""
        self.duo = None
        self.behind.close()


@pytest.fixture(scope="session")
def standing() -> Iterator[Standing]:
    """What stands between tests."""
    one = Standing()
    try:
        yield one
    finally:
        one.end()


@pytest.fixture
def duo(
    standing: Standing,
    tmp_path_factory: pytest.TempPathFactory,
    wheel_store: Wheels,
    make_host: MakeHost,
    index: str,
    demo_model: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Duo]:
    """Two hosts brought from nothing to a ready worker each, for all tests that leave them so.

    ``left`` reaches no index and has a model file of its own; ``right`` has an index and pulls.
    A test that fails takes them down: no other test fails for what it left behind.
    """
    if standing.duo is None:
        try:
            keeper = standing.behind.enter_context(
                keeper_of(tmp_path_factory.mktemp("duo"), wheel_store)
            )
            made = Duo(keeper, make_host("left"), make_host("right"))
            for host in made.hosts:
                standing.behind.callback(host.halt)
            _bring_up(made, index, demo_model)
        except BaseException:
            standing.end()
            raise
        standing.duo = made
    yield standing.duo
    if request.node.stash.get(FAILED, True):
        standing.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note at the test that it failed, for the fixtures that end after it."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


def _bring_up(duo: Duo, index: str, demo_model: Path) -> None:
    keeper, left, right = duo.keeper, duo.left, duo.right
    keeper.ok("queen", "start")
    for host in duo.hosts:
        allow(keeper, host)
    left.give_model(demo_model)
    add = ("--user", "ada", "--yes", "--install")
    keeper.ok("hive", "add", "left", "--address", left.address, *add, "--offline")
    keeper.ok("pool", "models", "register", MODEL, left.model, "--host", "left")
    keeper.ok(*SPAWN, "--host", "left")
    right.use_index(index)
    duo.step("hive", "add", "right", "--address", right.address, *add)
    duo.step(*SPAWN, "--host", "right")
    duo.first_token()


def _ssh(root: Path) -> Path:
    folder = root / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


def allow(keeper: LiveFleet, host: SshHost) -> None:
    """Let a keeper's key into a host."""
    host.authorize((keeper.root / ".ssh/id_ed25519.pub").read_text().strip())


@pytest.fixture(scope="session")
def operator_of() -> Callable[[LiveFleet, SshHost], None]:
    """Let a keeper's key into a host."""
    return allow


@pytest.fixture(scope="session")
def index(
    bridge: str, wheel_store: Wheels, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A package index of local wheels on our bridge; its URL."""
    own = asyncio.run(Package.own(tmp_path_factory.mktemp("indexed"))).wheel
    found = asyncio.run(wheel_store.dependencies(Kind.of(_facts_here(), "cpu"), own))
    build = wheel_store.folder / "build"
    if not list(build.glob("hatchling-*.whl")):
        run(
            *[sys.executable, "-m", "pip", "download", "-q", "-d", str(build)],
            "hatchling",
            timeout=300,
        )
    root = tmp_path_factory.mktemp("index")
    llama = wheel_store.llama(Kind.of(_facts_here(), "cpu"))
    assert llama is not None
    wheels = {path.name: path for path in [*found, llama, *build.glob("*.whl")]}
    package_index.add(root, wheels.values())
    package_index.add(root, [package_index.model_wheel(demo_model, root)])
    with package_index.serve(root, f"{NET}.1") as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole installations take a minute each: all but two of them run with RBEE_LONG=1 only."""
    if _LONG:
        return
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="a further installation: set RBEE_LONG=1"))
