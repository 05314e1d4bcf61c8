"""A hive that opens a port, a queen who listens, real processes: no SSH between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rbee_agent.client.queen import QueenClient
from rbee_agent.testing.live_fleet import LiveFleet
from tests.faults.processes import free_port
from tests.faults.streams import Seen, read, strict
from tests.hive.conftest import HiveProcess
from tests.ports import own_port
from tests.waiting import eventually

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


class Pair:
    """A queen and a host that meet on the network alone."""

    def __init__(self, root: Path, model: Path) -> None:
        self.door = f"127.0.0.1:{free_port()}"
        self.fleet = LiveFleet(root / "queen", RBEE_QUEEN_LISTEN=self.door)
        self.fleet.ok("queen", "start")
        self.url = str(self.fleet.record("queen")["url"])
        self.http = httpx.Client(base_url=self.url)
        self.hive = HiveProcess(
            root / "host",
            worker_port=own_port(18521),
            RBEE_HIVE_LISTEN=f"127.0.0.1:{free_port()}",
            RBEE_HIVE_QUEEN=f"https://{self.door}",
            RBEE_HIVE_QUEEN_CERTIFICATE=self.http.get("/v2/hosts/key").json()["certificate"],
        )
        self.hive.cli("models", "register", "demo", str(model))
        self.hive.start()

    def introduce(self, **other: Any) -> None:
        """Tell the queen of the hive, as a keeper does who saw its record over SSH."""
        record = self.hive.record
        said = {
            "node_id": record["node_id"],
            "url": record["queen_url"],
            "token": self.hive.token,
            "certificate": record["certificate"],
            "hostname": "gpu-1",
        }
        self.http.post("/v2/nodes/register", json=said | other).raise_for_status()

    def node(self) -> dict[str, Any]:
        """What the queen thinks of the host."""
        (found,) = self.http.get("/v2/nodes").json()["nodes"]
        return dict(found)

    async def until(self, state: str, *words: str) -> None:
        """Wait until the host is in a state, with some words in its reason."""

        def so() -> bool:
            node = self.node()
            reason = node.get("reason") or ""
            return node["state"] == state and all(word in reason for word in words)

        try:
            await eventually(so, timeout=40)
        except TimeoutError:
            raise AssertionError(self.node()) from None

    def workers(self) -> list[tuple[str, str, int, int]]:
        """Every worker that the queen counts."""
        found = self.http.get("/v2/workers").json()["workers"]
        return [(w["id"], w["state"], w["pid"], w["incarnation"]) for w in found]

    async def until_said(self, words: str, since: int = 0) -> None:
        """Wait until the hive's log says something."""
        await eventually(lambda: words in self.hive.log.read_text()[since:], timeout=40)

    @contextlib.contextmanager
    def other_file(self, path: Path) -> Iterator[None]:
        """Without a file, and with it again."""
        kept = path.with_suffix(".kept")
        path.rename(kept)
        try:
            yield
        finally:
            kept.replace(path)

    def end(self) -> None:
        self.http.close()
        self.hive.end()
        self.fleet.end()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[Pair]:
    """One pair for all tests, each of which leaves it whole, with a ready worker."""
    made = Pair(tmp_path_factory.mktemp("pair"), demo_model)
    try:
        made.introduce()
        words = ("worker", "spawn", "cpu", "-m", "demo", "--ctx", "512", "--threads", "1")
        made.fleet.ok(*words, "--slots", "2")
        yield made
    finally:
        made.end()


@pytest.fixture
async def whole(pair: Pair) -> Seen:
    """An undisturbed stream through the open port."""
    await pair.until("online")
    await pair.until_said("registered")
    async with QueenClient(pair.url) as client:
        return await read(client, strict())


async def test_tokens_come_through_the_open_port(pair: Pair, whole: Seen) -> None:
    """They come while the worker still computes; the worker itself listens on loopback."""
    (record,) = (pair.hive.home / ".local/state/rbee/workers").glob("*.json")
    worker = json.loads(record.read_text())
    busy = []

    def ask() -> None:
        url, token = f"http://127.0.0.1:{worker['port']}/health", worker["token"]
        reply = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
        busy.append(reply.json()["slots_busy"])

    async with QueenClient(pair.url) as client:
        seen = await read(client, strict(200), at=5, act=ask)
    assert busy == [1], "tokens were held back"
    assert seen.end["tokens_out"] == 200
    assert seen.text.startswith(whole.text)
    assert len(pair.workers()) == 1


async def test_heartbeats_tell_of_a_host_whose_port_fails(pair: Pair, whole: Seen) -> None:
    """Its heartbeats come, but nobody gets to it: offline, and that is said; no flapping."""
    pair.introduce(url="https://127.0.0.1:1")
    await pair.until("offline", "its heartbeats come, but https://127.0.0.1:1 fails")
    seen = pair.node()["last_seen_at"]
    states = set()

    def beat() -> bool:
        node = pair.node()
        states.add(node["state"])
        return bool(node["last_seen_at"] > seen + 3)

    await eventually(beat, timeout=20)
    assert states == {"offline"}
    pair.introduce()
    await pair.until("online")
    assert len(pair.workers()) == 1


async def test_a_forgotten_hive_is_not_taken_up_by_itself(pair: Pair, whole: Seen) -> None:
    """Removed at the queen, its token says nothing to her any more; the hive says so, once."""
    since = len(pair.hive.log.read_text())
    node = pair.node()["id"]
    pair.http.delete(f"/v2/nodes/{node}").raise_for_status()
    await pair.until_said("no heartbeats", since)
    said = pair.hive.log.read_text()[since:]
    assert "this token is not known" in said or "token" in said
    assert pair.http.get("/v2/nodes").json()["nodes"] == []
    pair.introduce()
    await pair.until("online")
    await eventually(lambda: [w[1] for w in pair.workers()] == ["ready"])


async def test_a_wrong_token_is_refused_in_one_sentence(pair: Pair, whole: Seen) -> None:
    """The queen shows the hive a token that is not its own: offline, with the hive's words."""
    pair.introduce(token="a-token-of-somebody-else-0123456789")
    await pair.until("offline", "this is not the hive's token")
    pair.introduce()
    await pair.until("online")


async def test_a_killed_hive_breaks_no_stream(pair: Pair) -> None:
    """SIGKILL of the hive in mid-stream: its worker is adopted, the stream goes on byte-exact."""
    await pair.until("online")
    before = pair.workers()
    async with QueenClient(pair.url) as client:
        expected = await read(client, strict(200))

        def act() -> None:
            pair.hive.kill()
            pair.hive.start()

        seen = await read(client, strict(200), at=20, act=lambda: asyncio.to_thread(act))
    assert seen.text == expected.text
    assert seen.indices == list(range(200))
    assert seen.end["resumed"] >= 1
    assert pair.workers() == before


async def test_a_killed_worker_behind_the_port(pair: Pair) -> None:
    """SIGKILL of the worker in mid-stream: its hive starts it anew, the stream goes on."""
    await pair.until("online")
    async with QueenClient(pair.url) as client:
        expected = await read(client, strict(200))

        def act() -> None:
            (worker,) = pair.hive.workers()
            worker.kill()

        seen = await read(client, strict(200), at=20, act=act)
    assert seen.text == expected.text
    assert seen.indices == list(range(200))
    assert [(w[1], w[3]) for w in pair.workers()] == [("ready", 2)]


async def test_a_silent_host_is_suspect_then_offline_then_back(pair: Pair, whole: Seen) -> None:
    """SIGSTOP of the hive: judged as over a tunnel; its worker is the same afterwards."""
    before = pair.workers()
    assert pair.hive.process is not None
    pair.hive.process.send_signal(signal.SIGSTOP)
    try:
        await pair.until("suspect", "no sign of life")
        await pair.until("offline", "no sign of life")
    finally:
        pair.hive.process.send_signal(signal.SIGCONT)
    await pair.until("online")
    assert pair.workers() == before


async def test_another_certificate_is_refused_and_explained(pair: Pair, whole: Seen) -> None:
    """A hive with a new certificate is not talked to, may not pin itself, and is told apart."""
    before = pair.workers()
    since = len(pair.hive.log.read_text())
    pair.hive.kill()
    with pair.other_file(pair.hive.home / ".local/state/rbee/hive-certificate.pem"):
        pair.hive.start()
        await pair.until("offline", "another certificate", "rbee hive start gpu-1")
        await pair.until_said("known with another token or certificate", since)
        pair.introduce()
        await pair.until("online")
        pair.hive.kill()
    pair.hive.start()
    await pair.until("offline", "another certificate")
    pair.introduce()
    await pair.until("online")
    assert pair.workers() == before


async def test_the_queens_certificate_is_pinned_too(pair: Pair, whole: Seen) -> None:
    """A hive sends no token to who shows another certificate than the queen's."""
    since = len(pair.hive.log.read_text())
    pin = pair.hive.env["RBEE_HIVE_QUEEN_CERTIFICATE"]
    pair.hive.kill()
    pair.hive.env["RBEE_HIVE_QUEEN_CERTIFICATE"] = "0" * 64
    pair.hive.start()
    await pair.until_said("it shows another certificate", since)
    pair.hive.kill()
    pair.hive.env["RBEE_HIVE_QUEEN_CERTIFICATE"] = pin
    pair.hive.start()
    await pair.until("online")


def test_the_open_ports_ask_everybody_for_a_token(pair: Pair) -> None:
    """Over TLS the queen of loopback is not open, and a hive speaks for itself alone."""
    context = ssl.create_default_context(
        cafile=str(pair.fleet.root / ".local/state/rbee/queen-certificate.pem")
    )
    token = {"Authorization": f"Bearer {pair.hive.token}"}
    with httpx.Client(base_url=f"https://{pair.door}", verify=context) as http:
        assert http.get("/v2/nodes").status_code == 401
        assert http.get("/v2/nodes", headers=token).status_code == 401
        assert http.post("/v2/nodes/other-1/heartbeat", json={}).status_code == 401
        other = http.post("/v2/nodes/other-1/heartbeat", json={}, headers=token)
        assert (other.status_code, other.json()["error"]["code"]) == (403, "FORBIDDEN")
        own = http.post(f"/v2/nodes/{pair.node()['id']}/heartbeat", json={}, headers=token)
        assert own.status_code == 204
    worker = pair.workers()[0][0]
    with httpx.Client(base_url=pair.hive.record["queen_url"], verify=False) as http:
        assert http.get("/v1/devices").status_code == 401
        assert http.get(f"/v1/workers/{worker}/way/health").status_code == 401
        wrong = http.get(f"/v1/workers/{worker}/way/health", headers=token)
        assert wrong.json()["error"]["message"] == "this is not the worker's token"
        assert http.get("/v1/workers/none/way/health", headers=token).status_code == 502


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--listen"),
        (["--listen", "0.0.0.0:9201"], "say the address itself"),
        (["--listen", "http://x"], "ADDRESS:PORT"),
        (["--listen", "192.0.2.1:9201"], "cannot listen on 192.0.2.1"),
        (["--queen", "http://192.0.2.1:8080"], "https"),
    ],
)
def test_plain_text_beyond_loopback_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    """Each with what to do instead."""
    hive = HiveProcess(tmp_path / "home", worker_port=own_port(18581))
    done = hive.cli("serve", *words)
    assert done.returncode in (2, 4), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_queen_registers_no_plain_port_of_another_machine(pair: Pair) -> None:
    """She would send prompts and tokens in clear."""
    body = {"node_id": "other-1", "url": "http://192.0.2.1:9200", "token": "t" * 20}
    reply = pair.http.post("/v2/nodes/register", json=body)
    assert reply.status_code == 400
    assert "could be read by others" in reply.text
