"""Two real hosts with a worker each, and the keeper whose queen serves from them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from rbee_agent.testing.live_fleet import MODEL, LiveFleet
from tests.hosts.ssh_host import SshHost

PROMPT = ("-p", "Count: one, two,", "--temperature", "0", "--seed", "7")
SPAWN = ("worker", "spawn", "cpu", "-m", MODEL, "--ctx", "512", "--slots", "2", "--threads", "1")
LONG_ANSWER = ("infer", "-m", MODEL, *PROMPT, "--max-tokens", "300")


def until(what: Callable[[], bool], seconds: float) -> float:
    """Wait for something that another process does to become true; how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


@dataclass
class Stream:
    """A long answer on its way, with its first characters read."""

    process: subprocess.Popen[str]
    begun: str
    host: SshHost
    """Where it comes from."""

    def rest(self) -> str:
        """The whole text, once it has ended well."""
        rest, err = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, err
        return self.begun + rest


@dataclass(repr=False)
class Duo:
    """The keeper, its queen, and the two hosts."""

    keeper: LiveFleet
    left: SshHost
    right: SshHost
    steps: list[tuple[str, float]] = field(default_factory=list)
    """What an operator typed to have the second host serve, and how many seconds it took."""
    whole: str = ""

    @property
    def hosts(self) -> tuple[SshHost, SshHost]:
        """Both."""
        return self.left, self.right

    def step(self, *words: str) -> None:
        """One command of the operator's, with its time."""
        began = time.monotonic()
        self.keeper.ok(*words)
        self.steps.append((" ".join(words), time.monotonic() - began))

    def first_token(self) -> None:
        """The time from a prompt to the first token that the second host makes."""
        node = self.nodes()["right"]["id"]
        worker = next(w["id"] for w in self.workers().values() if w["node_id"] == node)
        began = time.monotonic()
        process = self._popen(
            "infer", "-m", MODEL, *PROMPT, "--max-tokens", "4", "--worker", worker
        )
        assert process.stdout is not None
        assert process.stdout.read(1)
        self.steps.append(("infer: first token", time.monotonic() - began))
        process.communicate(timeout=60)

    def answer(self) -> str:
        """The long answer, undisturbed: what every disturbed one must equal."""
        if not self.whole:
            self.whole = self.keeper.ok(*LONG_ANSWER)
        return self.whole

    def stream(self) -> Stream:
        """Begin the long answer."""
        process = self._popen(*LONG_ANSWER)
        assert process.stdout is not None
        begun = process.stdout.read(20)
        names = {node["id"]: name for name, node in self.nodes().items()}
        busy = next(w for w in self.workers().values() if w["slots_busy"])
        host = next(h for h in self.hosts if h.name == names[busy["node_id"]])
        return Stream(process, begun, host)

    def answers(self, count: int) -> list[dict[str, Any]]:
        """The long answer, so many times at once, as documents."""
        asked = [self._popen(*LONG_ANSWER, "--json") for _ in range(count)]
        said = [process.communicate(timeout=120) for process in asked]
        for process, (_, err) in zip(asked, said, strict=True):
            assert process.returncode == 0, err
        return [json.loads(out) for out, _ in said]

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What the queen thinks of each host."""
        return {n["hostname"]: n for n in self.keeper.document("hive", "ls")["nodes"]}

    def states(self) -> dict[str, str]:
        """Each host's state at the queen."""
        return {name: node["state"] for name, node in self.nodes().items()}

    def workers(self) -> dict[str, dict[str, Any]]:
        """Every worker that the queen counts, by id."""
        return {w["id"]: w for w in self.keeper.document("ps")["workers"]}

    def lives(self) -> dict[str, tuple[int | None, int]]:
        """Process and incarnation of every worker: equal where nothing was started anew."""
        return {name: (w.get("pid"), w["incarnation"]) for name, w in self.workers().items()}

    def until_online(self, host: SshHost, seconds: float = 40.0) -> float:
        """Wait until the queen has a host again; how long it took."""
        return until(lambda: self.states()[host.name] == "online", seconds)

    def until_serving(self, seconds: float = 60.0) -> None:
        """Wait until both hosts are online with a ready worker each."""

        def serving() -> bool:
            ready = [w["node_id"] for w in self.workers().values() if w["state"] == "ready"]
            nodes = self.nodes().values()
            return all(n["state"] == "online" and ready.count(n["id"]) == 1 for n in nodes)

        try:
            until(serving, seconds)
        except AssertionError:
            print(self.states(), {n: w["state"] for n, w in self.workers().items()})
            raise

    def home_file(self, host: SshHost, path: str) -> str:
        """A text file of the user's on a host."""
        return (host.home / path).read_text()

    def ask_queen(self, path: str) -> httpx.Response:
        """GET something of the queen with the operator's key."""
        token = (self.keeper.root / ".local/state/rbee/admin.token").read_text().strip()
        url = self.keeper.record("queen")["url"]
        return httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})

    def reason(self, host: SshHost) -> tuple[str, str]:
        """State and reason of the queen's connection to a host."""
        shown = {each["name"]: each for each in self.ask_queen("/v2/hosts").json()["hosts"]}
        return shown[host.name]["state"], shown[host.name]["reason"] or ""

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[dict[str, str]]]:
        """Follow the queen's events; at the end the list holds each picture of the states."""
        file = self.keeper.root / "watched"
        words = [sys.executable, "-m", "rbee_tui", "hive", "ls", "--watch", "--json"]
        pictures: list[dict[str, str]] = []
        with file.open("w") as out:
            watching = subprocess.Popen(words, stdout=out, env=self.keeper.env)
        try:
            until(lambda: file.stat().st_size > 0, 20.0)
            yield pictures
        finally:
            watching.terminate()
            watching.wait(timeout=20)
        for line in file.read_text().splitlines():
            nodes = json.loads(line)["nodes"]
            pictures.append({node["hostname"]: node["state"] for node in nodes})

    def _popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rbee_tui", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.keeper.env,
        )
