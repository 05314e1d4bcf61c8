"""A played driver, worker processes that misbehave on demand, and a real hive."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from rbee_agent.client.hive import HiveClient
from rbee_agent.contracts.ids import new_id
from rbee_agent.contracts.workers import SpawnRequest, WorkerInfo, WorkerState
from rbee_agent.hive.backends import Backends
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.nvml import Nvml
from rbee_agent.hive.shelf import Shelf
from rbee_agent.hive.workers import Workers
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.config import WorkerSettings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret
from tests.gguf_files import write_gguf
from tests.ports import own_port

HERE = Path(__file__).parent
NODE = "played-host-0001"


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a compiled ``libnvidia-ml.so.1`` that plays a driver."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the played driver with")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    flags = ["-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run(
        [compiler, *flags, "-o", library, HERE / "fake_nvml.c"], check=True, capture_output=True
    )
    return folder


class Driver:
    """What the played driver says of its GPU-aaaa0000… and GPU-aaaa0001…; a folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def set(self, name: str, value: object = 1) -> None:
        """Write one of its files."""
        (self.folder / name).write_text(str(value))

    def unset(self, name: str) -> None:
        """Take a file away."""
        (self.folder / name).unlink(missing_ok=True)

    def hold(self, gpu: int, pid: int, size: int, *, draws: bool = False) -> None:
        """Have a process hold memory for as long as it lives."""
        folder = self.folder / f"gpu{gpu}.held"
        folder.mkdir(exist_ok=True)
        (folder / f"{'g' if draws else ''}{pid}").write_text(str(size))

    @property
    def inits(self) -> int:
        """How often it was opened."""
        path = self.folder / "inits"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """The played driver, in this process too: what is loaded under a name is found again by it."""
    ctypes.CDLL(str(nvml_library / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    made = Driver(tmp_path / "driver")
    monkeypatch.setenv("FAKE_NVML", str(made.folder))
    yield made
    made.unset("hang")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


class Host:
    """The workers of one host with stand-ins for worker programs; killed and started at will."""

    def __init__(self, root: Path, *, port: int, backends: tuple[str, ...] = ("cpu",)) -> None:
        self.places = Places.under(root / "rbee")
        self.shelf = Shelf(self.places, SystemClock())
        self.told = root / "behaviour.json"
        self.program = root / "llm-worker-rbee"
        shutil.copy(HERE / "stand_in.py", self.program)
        self.port = port
        self.backends = backends
        self.news: list[tuple[str, Any]] = []
        self.workers: Workers
        self.devices: Devices
        self._running: asyncio.Task[None] | None = None
        self.behave()
        os.environ["GGML_STAND_IN"] = str(self.told)
        write_gguf(root / "tiny.gguf")
        self.shelf.register("tiny", root / "tiny.gguf")

    def behave(self, **behaviour: Any) -> None:
        """What workers that start from now on do."""
        self.told.write_text(json.dumps(behaviour))

    @property
    def starts(self) -> list[dict[str, Any]]:
        """Every start of a worker: pid, arguments, environment."""
        path = self.told.with_suffix(".starts")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def start(self, *, revive: bool = True, devices: Devices | None = None) -> None:
        """Be the owner of this host's workers."""
        started = asyncio.Event()
        self.devices = devices or Devices()
        self._running = asyncio.create_task(self._own(started, revive))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({self._running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            waiting.cancel()
            await self._running

    async def _own(self, started: asyncio.Event, revive: bool) -> None:
        feed = HiveFeed()
        publish = feed.publish

        def keep(event: str, value: Any) -> None:
            self.news.append((event, value))
            publish(event, value)

        feed.publish = keep  # type: ignore[method-assign]
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            self.workers = Workers(
                node_id=NODE,
                places=self.places,
                defaults=WorkerSettings(),
                port_first=self.port,
                devices=self.devices,
                shelf=self.shelf,
                feed=feed,
                session=session,
                callback_token=Secret.new(),
                clock=SystemClock(),
                new_id=new_id,
                program=(sys.executable, str(self.program)),
            )
            self.workers.backends = Backends(self.backends, "0")
            await self.workers.start(group, callback_url="", revive=revive)
            started.set()
            await asyncio.Event().wait()

    async def vanish(self) -> None:
        """The owner is gone as after SIGKILL: nobody tells the workers."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self.devices.close()
            self._running = None

    async def spawn(self, **request: Any) -> WorkerInfo:
        """Start a worker of the tiny model."""
        return await self.workers.spawn(SpawnRequest(**{"model": "tiny", **request}))

    async def until(self, worker_id: str, *states: WorkerState) -> WorkerInfo:
        """Wait until a worker is in one of some states."""
        worker = self.workers.get(worker_id)
        async with asyncio.timeout(60):
            while worker.info.state not in states:
                await worker.news.wait()
                worker.news.clear()
        return worker.info

    async def ready(self, **request: Any) -> WorkerInfo:
        """Start a worker and see it ready."""
        return await self.until((await self.spawn(**request)).id, WorkerState.READY)

    def die(self) -> None:
        """Kill the worker that was started first, and see it reaped: it is this process's child."""
        os.kill(self.starts[0]["pid"], signal.SIGKILL)
        os.waitpid(self.starts[0]["pid"], 0)

    def said(self) -> str:
        """All narration so far."""
        return "\n".join(value["text"] for event, value in self.news if event == "narration")

    def end(self) -> None:
        """Kill every worker that was ever started."""
        for start in self.starts:
            try:
                process = psutil.Process(start["pid"])
                if "llm-worker-rbee" in " ".join(process.cmdline()):
                    process.kill()
                    process.wait(5)
            except psutil.Error:
                continue


@pytest.fixture
async def make_host(tmp_path: Path) -> AsyncIterator[Callable[..., Host]]:
    """Makes hosts; their workers end with the test."""
    made: list[Host] = []
    before = os.environ.get("GGML_STAND_IN")

    def make(**options: Any) -> Host:
        root = tmp_path / f"host-{len(made)}"
        root.mkdir()
        made.append(Host(root, port=own_port(18600 + 20 * len(made)), **options))
        return made[-1]

    yield make
    for host in made:
        await host.vanish()
        host.end()
    if before is None:
        os.environ.pop("GGML_STAND_IN", None)


@pytest.fixture
async def host(make_host: Callable[..., Host]) -> Host:
    """A host without GPUs, its owner at work."""
    made = make_host()
    await made.start(devices=Devices([]))
    return made


@pytest.fixture
async def gpu_host(make_host: Callable[..., Host], driver: Driver) -> Host:
    """A host with the two GPUs of the played driver, its owner at work."""
    made = make_host(backends=("cpu", "cuda"))
    await made.start(devices=Devices([Nvml()]))
    return made


class HiveProcess:
    """``rbee-hive serve`` of a home of its own, to be killed and started again."""

    def __init__(self, home: Path, *, worker_port: int, **env: str) -> None:
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "RBEE_HIVE_PORT": "0",
            "RBEE_HIVE_WORKER_PORT_FIRST": str(worker_port),
            "HF_HUB_OFFLINE": "1",
            **env,
        }
        self.log = home / "hive.log"
        self.process: subprocess.Popen[bytes] | None = None
        (home / "run").mkdir(parents=True, exist_ok=True)

    def cli(
        self, *words: str, timeout: float = 120, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``rbee-hive WORDS`` as its user."""
        return subprocess.run(
            [sys.executable, "-m", "rbee_agent.hive", *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def document(self, *words: str) -> Any:
        """What ``rbee-hive WORDS --json`` prints."""
        done = self.cli(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def record(self) -> dict[str, Any]:
        """What the daemon wrote of itself."""
        found: dict[str, Any] = json.loads((self.home / "run/rbee/hive.json").read_text())
        return found

    @property
    def token(self) -> str:
        """What its callers need."""
        return (self.home / ".local/state/rbee/hive.token").read_text().strip()

    def client(self) -> HiveClient:
        """A client of the daemon."""
        return HiveClient(self.record["url"], self.token)

    def start(self) -> None:
        """Start the daemon and wait until its workers are adopted."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rbee_agent.hive", "serve"],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        path = self.home / "run/rbee/hive.json"
        for _ in range(1200):
            assert self.process.poll() is None, self.log.read_text()
            if path.exists() and self.record["pid"] == self.process.pid:
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the daemon; its workers stay."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def workers(self) -> list[psutil.Process]:
        """The living worker processes of this home."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                words = process.info["cmdline"] or []
                ours = "rbee_agent.worker" in words and "--probe" not in words
                if ours and process.environ()["HOME"] == str(self.home):
                    found.append(process)
            except (psutil.Error, KeyError):
                continue
        return found

    def end(self) -> None:
        """End all of it."""
        self.kill()
        left = self.workers()
        for process in left:
            process.kill()
        psutil.wait_procs(left, 10)


@pytest.fixture
def real_hive(tmp_path: Path, demo_model: Path) -> Iterator[HiveProcess]:
    """A home that knows the demo model; no daemon runs yet."""
    made = HiveProcess(tmp_path / "home", worker_port=own_port(18461))
    done = made.cli("models", "register", "demo", str(demo_model))
    assert done.returncode == 0, done.stderr
    yield made
    made.end()
