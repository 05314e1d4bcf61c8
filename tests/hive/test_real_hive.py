"""The real daemon with real workers: killed and started again, and asked over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from rbee_agent.contracts.models import CatalogModel, Source
from rbee_agent.contracts.workers import SpawnRequest, WorkerState
from rbee_agent.errors import RbeeError
from rbee_agent.wire.sse import SseDecoder
from tests.gguf_files import write_gguf
from tests.hive.conftest import Driver, HiveProcess
from tests.ports import own_port

pytestmark = pytest.mark.model


async def tokens(url: str, token: str, job: str, count: int) -> AsyncIterator[dict[str, Any]]:
    """A strict stream straight from a worker, as the queen reads it."""
    body = {
        "job_id": job,
        "prompt": "Once upon a time",
        "max_tokens": count,
        "strict": True,
        "sampling": {"temperature": 0.0, "seed": 1, "ignore_eos": True},
    }
    decoder = SseDecoder()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/execute", json=body) as answer,
    ):
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            for event in decoder.feed(chunk):
                if event.event in ("token", "end", "error"):
                    yield {"event": event.event, **json.loads(event.data)}


async def test_a_killed_hive_leaves_its_streams_alone(real_hive: HiveProcess) -> None:
    """SIGKILL in mid-stream: the stream ends as without it, the worker is adopted as ready."""
    real_hive.start()
    async with real_hive.client() as client:
        spawned = await client.spawn(
            SpawnRequest(model="demo", context=1024, slots=2, threads=1), timeout=30
        )
        async with asyncio.timeout(90), aclosing(client.events()) as events:
            async for _ in events:
                (info,) = await client.workers()
                if info.state is WorkerState.READY:
                    break
    assert info.url is not None
    assert info.token is not None
    alone = [item async for item in tokens(info.url, info.token, "alone", 300)]

    disturbed = []
    async for item in tokens(info.url, info.token, "disturbed", 300):
        disturbed.append(item)
        if len(disturbed) == 20:
            await asyncio.to_thread(real_hive.kill)
            real_hive.start()

    async with real_hive.client() as client, aclosing(client.events()) as events:
        snapshot = json.loads((await anext(events)).data)
        (adopted,) = snapshot["workers"]
    assert [i.get("ids") for i in alone if i["event"] == "token"] == [
        i.get("ids") for i in disturbed if i["event"] == "token"
    ]
    assert disturbed[-1]["event"] == "end"
    assert (adopted["id"], adopted["pid"], adopted["state"]) == (spawned.id, info.pid, "ready")
    assert (adopted["incarnation"], adopted["restarts"]) == (1, 0)
    assert len(real_hive.workers()) == 1

    real_hive.kill(signal.SIGTERM)
    assert len(real_hive.workers()) == 1, "a hive that stops leaves its workers"
    done = real_hive.cli("worker", "stop", spawned.id)
    assert done.returncode == 0, done.stderr
    assert real_hive.workers() == []


@pytest.fixture
def gpu_hive(tmp_path: Path, nvml_library: Path) -> Iterator[tuple[HiveProcess, Driver]]:
    """A real hive on a host with the two GPUs of the played driver."""
    driver = Driver(tmp_path / "driver")
    env = {"LD_LIBRARY_PATH": str(nvml_library), "FAKE_NVML": str(driver.folder)}
    made = HiveProcess(tmp_path / "home", worker_port=own_port(18481), **env)
    yield made, driver
    driver.unset("hang")
    made.end()


async def test_telemetry_goes_on_whatever_a_driver_does(
    gpu_hive: tuple[HiveProcess, Driver],
) -> None:
    """A snapshot first, then values each second; a GPU that vanishes, a driver that hangs."""
    hive, driver = gpu_hive
    driver.set("gpu1", "8192 1024 75 61 120500 250000")
    driver.hold(1, 1, 5 * 1024**2)
    hive.start()

    async with hive.client() as client, asyncio.timeout(60), aclosing(client.events()) as events:
        first = await anext(events)
        assert first.event == "snapshot"
        said = json.loads(first.data)
        assert [device["id"] for device in said["devices"]] == ["cpu", "cuda:0", "cuda:1"]
        assert said["devices"][2]["processes"][0]["pid"] == 1
        assert said["identity"]["backends"] == ["cpu"]

        ats = []
        while len(ats) < 3:
            event = await anext(events)
            if event.event == "telemetry":
                ats.append(json.loads(event.data)["at"])
        assert all(after - before > 0.5 for before, after in itertools.pairwise(ats))

        driver.set("gpu0.error", 15)
        assert await lost(events, "cuda:0") == "GPU is lost"
        driver.set("hang")
        assert "has not answered" in await lost(events, "cuda:1")
        driver.unset("hang")
        driver.unset("gpu0.error")
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {hive.token}"}) as http:
            metrics = (await http.get(f"{hive.record['url']}/metrics")).text
    assert 'device="cuda:1",kind="total"' in metrics
    assert "rbee_gpu_power_watts" in metrics


async def lost(events: Any, device: str) -> str:
    """Read telemetry until a device has an error."""
    while True:
        event = await anext(events)
        if event.event == "telemetry":
            for said in json.loads(event.data)["devices"]:
                if said["id"] == device and said.get("error"):
                    return str(said["error"])


def test_asked_for_cuda_where_there_is_none_it_is_refused(
    gpu_hive: tuple[HiveProcess, Driver], tmp_path: Path
) -> None:
    """The GPUs are there, llama.cpp was not built for them: both are named, exit code 7."""
    hive, _ = gpu_hive
    hive.cli("models", "register", "tiny", str(write_gguf(tmp_path / "tiny.gguf")))

    shown = hive.document("detect")
    refused = hive.cli("worker", "spawn", "cuda", "--model", "tiny", "--gpu", "0")

    assert [device["uuid"] for device in shown["devices"][1:]] == [
        "GPU-aaaa0000-0000-0000-0000-000000000000",
        "GPU-aaaa0001-0000-0000-0000-000000000000",
    ]
    assert refused.returncode == 7
    for words in ("cuda is not available", "built for cpu", "cuda:1 (Played GPU 1)"):
        assert words in refused.stderr
    assert hive.workers() == []


def test_the_hive_s_door(gpu_hive: tuple[HiveProcess, Driver], tmp_path: Path) -> None:
    """Health for all; the rest for the token; a web page never; a worker's callback by its own."""
    hive, _ = gpu_hive
    hive.start()
    url = hive.record["url"]
    good = {"Authorization": f"Bearer {hive.token}"}
    with httpx.Client(base_url=url) as http:
        assert http.get("/health").json()["status"] == "ok"
        for path in ("/v1/devices", "/v1/workers", "/v1/models", "/v1/events", "/metrics"):
            assert http.get(path).status_code == 401
        wrong = http.get("/v1/workers", headers={"Authorization": "Bearer x"}).json()
        assert wrong["error"]["code"] == "BAD_TOKEN"
        assert http.get("/v1/workers", headers=good | {"Origin": "http://evil"}).status_code == 403
        assert http.get("/v1/workers", headers=good | {"Host": "evil"}).status_code == 403
        assert http.post("/v1/workers/ready", headers=good, json={}).status_code == 401
        assert http.get("/v1/capabilities", headers=good).json()["backends"] == ["cpu"]
        assert http.delete("/v1/workers/none", headers=good).status_code == 404
        assert http.get("/v1/workers/none/logs", headers=good).status_code == 404
        bad = http.post("/v1/workers", headers=good, json={"model": "x", "slots": 0})
        assert bad.json()["error"]["code"] == "INVALID_PARAMS"

    second = hive.cli("serve", timeout=60)
    assert second.returncode == 7
    assert f"runs already: {url}" in second.stderr


async def test_models_over_http(gpu_hive: tuple[HiveProcess, Driver], tmp_path: Path) -> None:
    """Pulled with progress, told to every reader at once, hashed, verified, removed."""
    hive, _ = gpu_hive
    path = write_gguf(tmp_path / "tiny.gguf")
    hive.start()
    tiny = CatalogModel(id="tiny", sources=[Source(kind="file", location=str(path))])

    async with hive.client() as client, asyncio.timeout(60), aclosing(client.events()) as events:
        await anext(events)
        news = [item async for item in client.pull(tiny)]
        assert [item.phase for item in news] == ["resolve", "register", "done"]
        assert news[-1].file is not None
        told: dict[str, Any] = {}
        while "sha256" not in told:
            event = await anext(events)
            if event.event == "model":
                told = {k: v for k, v in json.loads(event.data).items() if v is not None}
        (listed,) = await client.models()
        nowhere = CatalogModel(id="x", sources=[Source(kind="file", location="/nowhere.gguf")])
        with pytest.raises(RbeeError, match="there is no file /nowhere") as refusal:
            [item async for item in client.pull(nowhere)]
        await client.remove_model("tiny")
        assert await client.models() == []

    assert refusal.value.code == "MODEL_NOT_FOUND"
    assert told["sha256"] == listed.sha256
    assert path.exists(), "a file that rbee did not bring is never deleted"
