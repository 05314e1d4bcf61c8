"""Real hosts without machines: OpenSSH servers in network namespaces.

Each host has its own network, loopback, mount, process and UTS namespace, its own users and an
empty home. A bridge of ours joins them; no packet leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.testing.live_fleet import LiveFleet
from rbee_tui.fleet.install import Package
from rbee_tui.fleet.wheels import Kind, Wheels, llama_requirement

NET = "10.213.77"
USER = "ada"
UID = 4211
_LONG = bool(os.environ.get("RBEE_LONG"))
_XDG_CACHE = os.environ.get("XDG_CACHE_HOME")
_REAL_HOME = Path.home()
_NEEDED = ("ip", "sshd", "ssh-keygen", "unshare", "nsenter", "mount")


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    gone = [tool for tool in _NEEDED if _tool(tool) is None]
    if gone:
        return f"needs {', '.join(gone)} (apt-get install openssh-server iproute2 util-linux)"
    return None


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def run(*words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
    """Run a tool of the test's own; its stdout."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class SshHost:
    """One host: its namespaces are those of the process `pid`."""

    name: str
    address: str
    root: Path
    pid: int
    processes: list[subprocess.Popen[bytes]]
    host_key: str
    gate: SshHost | None = None
    """The jump host in front of it."""

    @property
    def home(self) -> Path:
        """The user's home, as this side sees it."""
        return self.root / "home" / USER

    def sh(self, script: str, *, user: str = "root", timeout: float = 60.0) -> str:
        """Run a script inside; its stdout."""
        words = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts"]
        if user != "root":
            words += [f"--setuid={UID}", f"--setgid={UID}"]
            script = f"export HOME=/home/{USER}; cd; {script}"
        return run(*words, "sh", "-c", script, timeout=timeout)

    model = f"/home/{USER}/model.gguf"
    """Where `give_model` puts the model, as the host sees it."""

    def give_model(self, source: Path) -> None:
        """Put a model file onto its disk."""
        target = self.home / "model.gguf"
        shutil.copyfile(source, target)
        target.chmod(0o644)

    def listing(self) -> list[str]:
        """Every path below the home."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def sshd(self, *options: str, port: int = 22) -> None:
        """Start its SSH server; `options` are lines of sshd_config."""
        config = self.root / f"sshd_config.{port}"
        lines = [
            f"Port {port}",
            f"HostKey {self.root}/ssh_host_ed25519_key",
            "PidFile none",
            "UsePAM no",
            "PasswordAuthentication yes",
            "Subsystem sftp internal-sftp",
            "MaxStartups 200:30:300",
            *options,
        ]
        config.write_text("\n".join(lines) + "\n")
        sshd = _tool("sshd")
        assert sshd is not None
        log = (self.root / "sshd.log").open("ab")
        with log:
            process = subprocess.Popen(
                [
                    *["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts"],
                    *[sshd, "-D", "-e", "-f", str(config)],
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            )
        self.processes.append(process)
        self._await_port(process, port)

    def _await_port(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert process.poll() is None, (self.root / "sshd.log").read_text()
            listening = self.sh("cat /proc/net/tcp")
            if f":{port:04X} 00000000:0000 0A" in listening:
                return
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    def end_sshd(self) -> None:
        """Kill the server and every session of it."""
        self.sh("for p in $(ps -eo pid=,comm= | awk '$2 ~ /sshd/ {print $1}'); do kill -9 $p; done")
        self.processes.pop().wait()

    def link(self, up: bool) -> None:
        """Plug or unplug its network cable."""
        run("ip", "link", "set", f"v{self.name}", "up" if up else "down")

    def set_password(self, hashed: str) -> None:
        """Give the user a password, as it stands in shadow."""
        file = self.root / "etc/shadow"
        file.write_text(file.read_text().replace(f"{USER}:*:", f"{USER}:{hashed}:"))

    def authorize(self, line: str) -> None:
        """Let a key log in as the user."""
        folder = self.home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "authorized_keys"
        file.write_text(line + "\n")
        file.chmod(0o600)
        for path in (folder, file):
            os.chown(path, UID, UID)


MakeHost = Callable[..., SshHost]


@pytest.fixture(scope="session")
def bridge() -> Iterator[str]:
    """A network of our own; its name. Skips where namespaces cannot be had."""
    reason = _missing()
    if reason:
        pytest.skip(reason)
    name = f"rbt{os.getpid() % 100000}"
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
        host = _boot(bridge, tmp_path_factory.mktemp(name), name, len(made) + 11, shell)
        made.append(host)
        if sshd:
            host.sshd()
        return host

    try:
        yield make
    finally:
        for host in made:
            with contextlib.suppress(ProcessLookupError):
                # The namespace's first process takes all others of it along.
                os.kill(host.pid, signal.SIGKILL)
            for process in host.processes:
                process.wait(timeout=10)
            subprocess.run(
                ["ip", "link", "delete", f"v{host.name}"], check=False, capture_output=True
            )


def _boot(bridge: str, root: Path, name: str, number: int, shell: str) -> SshHost:
    """Unshare, mount over what a host has of its own, and plug it into the bridge."""
    for folder in ("home", "etc", "run", "tmp", "var"):
        (root / folder).mkdir()
    root.chmod(0o755)
    for parent in root.parents:
        if parent == Path("/tmp") or parent == parent.parent:
            break
        parent.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    home = root / "home" / USER
    home.mkdir(mode=0o755)
    os.chown(home, UID, UID)
    users = "root:x:0:0:root:/root:/bin/bash\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n"
    (root / "etc/passwd").write_text(users + f"{USER}:x:{UID}:{UID}::/home/{USER}:{shell}\n")
    (root / "etc/group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{UID}:\n")
    (root / "etc/shadow").write_text(
        f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n"
    )
    key = root / "ssh_host_ed25519_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    mounts = [f"mount --bind {root}/home /home", "mount -t tmpfs tmpfs /run", "mkdir -p /run/sshd"]
    mounts += [
        f"mount --bind {root}/etc/{file} /etc/{file}" for file in ("passwd", "group", "shadow")
    ]
    mounts += ["ip link set lo up", f"hostname {name}", "echo ready", "exec sleep infinity"]
    process = subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-ec",
            "; ".join(mounts),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pid = int(children[0])
    address = f"{NET}.{number}"
    run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run("ip", "link", "set", f"v{name}", "master", bridge, "up")
    inside = ["nsenter", f"--target={pid}", "--net", "ip"]
    run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    line = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    return SshHost(name, address, root, pid, [process], line)


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


Rbee = Callable[..., Awaitable[Done]]


@pytest.fixture
def rbee(hermetic: Path, wheel_store) -> Rbee:
    """Run ``rbee ARGS`` as the operator whose key the hosts know; nobody's queen is near."""
    cache = hermetic / ".cache" / "rbee"
    cache.mkdir(parents=True)
    (cache / "wheels").symlink_to(wheel_store.folder)

    async def run(*words: str, stdin: str = "", timeout: float = 110.0) -> Done:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "rbee_tui", *words],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ) | {"RBEE_QUEEN_URL": "http://127.0.0.1:9"},
        )
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, wheel_store: Wheels) -> Iterator[LiveFleet]:
    """A keeper with folders of its own; a queen that it starts ends with it."""
    root = tmp_path_factory.mktemp("keeper")
    made = LiveFleet(root)
    (root / ".cache/rbee").mkdir(parents=True)
    (root / ".cache/rbee/wheels").symlink_to(wheel_store.folder)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(_ssh(root) / "id_ed25519"))
    try:
        yield made
    finally:
        made.end()


def _ssh(root: Path) -> Path:
    folder = root / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def operator_of() -> Callable[[LiveFleet, SshHost], None]:
    """Let a keeper's key into a host."""

    def allow(keeper: LiveFleet, host: SshHost) -> None:
        host.authorize((keeper.root / ".ssh/id_ed25519.pub").read_text().strip())

    return allow


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], float], float]:
    """Wait for something that another process does to become true; how long it took."""

    def wait(what: Callable[[], bool], seconds: float) -> float:
        began = time.monotonic()
        while not what():
            assert time.monotonic() - began < seconds, "it did not happen in time"
            time.sleep(0.05)
        return time.monotonic() - began

    return wait


@pytest.fixture(scope="session")
def index(
    bridge: str, wheel_store: Wheels, tmp_path_factory: pytest.TempPathFactory
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
    for wheel in {path.name: path for path in [*found, llama, *build.glob("*.whl")]}.values():
        project = root / "simple" / wheel.name.split("-")[0].lower().replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        (project / wheel.name).symlink_to(wheel)
    handler = functools.partial(_Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer((f"{NET}.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{NET}.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole installations take a minute each: all but two of them run with RBEE_LONG=1 only."""
    if _LONG:
        return
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="a further installation: set RBEE_LONG=1"))
