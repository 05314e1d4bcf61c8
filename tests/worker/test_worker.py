"""A real worker process with the demo model does what the contract says."""

from __future__ import annotations

import datetime
import json
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.haiku import question, spelled

pytestmark = pytest.mark.model

Start = Callable[..., "subprocess.Popen[bytes]"]


def _text(frames: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(data["t"] for kind, data in frames if kind == "token")


def _ids(frames: list[tuple[str, dict[str, Any]]]) -> list[int]:
    return [token for kind, data in frames if kind == "token" for token in data["ids"]]


def test_it_calls_back_when_it_is_ready(worker: Any) -> None:
    """The hive learns address, pid and what the worker is, with its own token."""
    assert worker.callback_token == "Bearer the-hives-callback-token"
    assert worker.process.pid == worker.ready["pid"]
    health = worker.ready["health"]
    assert (
        health["status"],
        health["model"],
        health["slots"],
        health["context"],
    ) == ("ready", "smollm2-135m", 4, 512)
    assert health["profile"]["fingerprint"] == health["fingerprint"]


def test_tokens_arrive_one_by_one(worker: Any) -> None:
    """Accepted, tokens in order with their ids, one end with true counts."""
    frames = worker.run(
        prompt="The capital of France is", max_tokens=12, sampling={"temperature": 0.0}
    )

    kinds = [kind for kind, _ in frames]
    assert (kinds[0], kinds[-1]) == ("accepted", "end")
    assert {"token"} == set(kinds[1:-1])
    assert "Paris" in _text(frames)
    end = frames[-1][1]
    assert (end["tokens_out"], end["finish_reason"]) == (12, "length")
    assert len(_ids(frames)) == 12
    assert frames[-2][1]["i"] == 11


def test_the_first_token_comes_before_the_last_is_made(worker: Any) -> None:
    """Nothing collects the answer before it is sent."""
    total_at_first = 0
    last = 0
    for kind, _ in worker.frames(
        {
            "job_id": "live",
            "prompt": "Once upon a time",
            "max_tokens": 100,
            "sampling": {"temperature": 0.0, "ignore_eos": True},
        }
    ):
        if kind == "token" and not total_at_first:
            total_at_first = worker.client.get("/health").json()["tokens_out_total"]
        if kind == "end":
            last = worker.client.get("/health").json()["tokens_out_total"]

    assert last - total_at_first > 50


def test_no_canned_text_can_answer(worker: Any) -> None:
    """The minute of the clock is in the prompt, and the ids decode to the very text."""
    words = spelled(datetime.datetime.now(tz=datetime.UTC).minute)
    before = worker.client.get("/health").json()

    frames = worker.run(prompt=question(words), max_tokens=24, sampling={"temperature": 0.0})

    after = worker.client.get("/health").json()
    assert words in _text(frames).lower()
    decoded = worker.client.post("/detokenize", json={"tokens": _ids(frames)}).json()["text"]
    assert decoded.startswith(_text(frames))
    assert len(_ids(frames)) <= after["tokens_out_total"] - before["tokens_out_total"] + 1
    assert after["step"] > before["step"]


def test_same_seed_same_bytes(worker: Any) -> None:
    """Strict at temperature 0, and with a seed at any temperature, repeats itself."""
    for temperature in (0.0, 0.8):
        body = {
            "prompt": "Three colours are",
            "max_tokens": 32,
            "strict": True,
            "sampling": {"temperature": temperature, "seed": 1},
        }
        assert _ids(worker.run(**body)) == _ids(worker.run(**body))


def test_a_stream_goes_on_behind_the_ids_it_is_given(worker: Any) -> None:
    """With the ids already shown the worker makes exactly the rest."""
    body = {
        "prompt": "The sea is",
        "max_tokens": 24,
        "strict": True,
        "sampling": {"temperature": 0.0, "seed": 1},
    }
    whole = worker.run(**body)
    shown = _ids(whole)[:9]

    rest = worker.run(**body, resume_token_ids=shown)

    assert _ids(whole)[9:] == _ids(rest)
    assert next(data["i"] for kind, data in rest if kind == "token") == 9
    assert rest[-1][1]["tokens_out"] == 24


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"job_id": "a", "prompt": "word " * 2000}, 400, "CONTEXT_LENGTH_EXCEEDED"),
        ({"job_id": "a", "prompt": "x", "sampling": {"temperature": -1}}, 400, "INVALID_PARAMS"),
        ({"prompt": "x"}, 400, "INVALID_PARAMS"),
        ({"job_id": "a", "prompt": "x", "grammar": "root ::= ("}, 400, "INVALID_PARAMS"),
    ],
)
def test_bad_jobs_are_refused_before_any_work(
    worker: Any, body: dict[str, Any], status: int, code: str
) -> None:
    """What cannot be done is an HTTP error with the numbers, not a broken stream."""
    answer = worker.client.post("/execute", json=body)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    if code == "CONTEXT_LENGTH_EXCEEDED":
        assert "512" in answer.json()["error"]["message"]


def test_only_the_hive_s_token_opens_it(worker: Any) -> None:
    """Other people have accounts on GPU hosts: loopback is no permission."""
    url = f"{worker.ready['url']}/health"

    assert httpx.get(url).status_code == 401
    assert (
        (httpx.get(url, headers={"Authorization": "Bearer x"}).json()["error"]["code"])
        == "BAD_TOKEN"
    )


@pytest.mark.parametrize("how", ["cancel", "disconnect"])
def test_a_cancelled_job_frees_its_slot(worker: Any, how: str) -> None:
    """After a cancel, or when the reader goes away, the slot is free and the engine goes on."""
    body = {
        "job_id": f"long-{how}",
        "prompt": "Once",
        "max_tokens": 400,
        "sampling": {"temperature": 0.0, "ignore_eos": True},
    }
    for kind, data in worker.frames(body):
        if kind == "token" and how == "cancel":
            assert worker.client.post("/cancel", json={"job_id": body["job_id"]}).status_code == 204
        elif kind == "token":
            break
        if kind == "error":
            assert data["code"] == "CANCELLED"

    # The next job is served at once, and after it nobody holds a slot.
    assert worker.run(prompt="Hi", max_tokens=2)[-1][0] == "end"
    assert worker.client.get("/health").json()["slots_busy"] == 0


def test_several_streams_run_together(worker: Any) -> None:
    """Four jobs at once all end, each with its own answer."""
    answers: dict[int, str] = {}

    def one(number: int) -> None:
        frames = worker.run(
            prompt=f"{number} plus {number} is",
            max_tokens=8,
            strict=True,
            sampling={"temperature": 0.0, "seed": 1},
        )
        answers[number] = _text(frames)

    alone = {
        n: _text(
            worker.run(
                prompt=f"{n} plus {n} is",
                max_tokens=8,
                strict=True,
                sampling={"temperature": 0.0, "seed": 1},
            )
        )
        for n in range(4)
    }
    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert alone == answers


def test_metrics_count_what_was_made(worker: Any) -> None:
    """The Prometheus text carries the engine's counters."""
    worker.run(prompt="Hi", max_tokens=3)

    lines = worker.client.get("/metrics").text.splitlines()

    counted = next(line for line in lines if line.startswith("rbee_tokens_out_total "))
    assert float(counted.split()[1]) >= 3


def test_a_file_that_is_no_model_is_refused_by_name(
    tmp_path: Path, start_worker: Start, demo_model: Path
) -> None:
    """No GGUF, or one cut short: a sentence and an exit code, never a silent crash."""
    no_gguf = tmp_path / "letter.gguf"
    no_gguf.write_text("Dear model, " * 1000)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(demo_model.read_bytes()[:30_000_000])

    for path in (no_gguf, cut):
        process = start_worker(path)
        _, errors = process.communicate(timeout=60)
        assert process.returncode not in (0, None)
        assert process.returncode > 0, "it was killed by a signal"
        last = errors.decode().strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert path.name in last


def test_a_template_that_is_neither_name_nor_file_is_refused(
    start_worker: Start, demo_model: Path
) -> None:
    """The names that there are, before anything is loaded."""
    process = start_worker(demo_model, "--chat-template", "llama9")
    _, errors = process.communicate(timeout=60)

    assert process.returncode > 0
    last = errors.decode().strip().splitlines()[-1]
    assert "llama9" in last
    assert "chatml" in last


def test_sigterm_ends_it_at_once(demo_model: Path, start_worker: Start, callbacks: Any) -> None:
    """A worker told to stop exits 0 within seconds, with a stream in flight too."""
    process = start_worker(demo_model, "--slots", "1", "--ctx", "256")
    _, ready = callbacks.said.get(timeout=90)
    client = httpx.Client(
        base_url=ready["url"],
        headers={"Authorization": f"Bearer {'a-test-token-of-32-characters-ok'}"},
    )
    with client.stream(
        "POST",
        "/execute",
        json={"job_id": "x", "prompt": "Once", "max_tokens": 200, "sampling": {"ignore_eos": True}},
    ) as answer:
        next(answer.iter_bytes())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    client.close()

    assert process.returncode == 0


def test_probe_needs_no_model(start_worker: Start) -> None:
    """The hive learns the backends without loading anything."""
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "rbee_agent.worker", "--probe"], capture_output=True, timeout=60
    )

    assert "cpu" in json.loads(done.stdout)["backends"]


def test_a_context_that_no_memory_holds_is_refused_with_the_numbers(
    start_worker: Start, demo_model: Path
) -> None:
    """What was needed, what was free, what helps; the exit code of what does not fit."""
    process = start_worker(demo_model, "--ctx", "100000000")
    _, errors = process.communicate(timeout=90)

    assert process.returncode == 7
    last = errors.decode().strip().splitlines()[-1]
    assert last.startswith("error: INSUFFICIENT_VRAM: ")
    assert "MiB for the KV cache" in last
    assert "MiB are free on this host" in last


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(
    start_worker: Start, demo_model: Path
) -> None:
    """Asked for a device this build does not see: refused, naming those it does."""
    for device in ("cuda:0", "cuda:GPU-no-such-uuid", "metal", "toaster"):
        process = start_worker(demo_model, "--device", device)
        _, errors = process.communicate(timeout=90)
        last = errors.decode().strip().splitlines()[-1]
        assert last.startswith("error: BACKEND_UNAVAILABLE: ")
        assert "it sees cpu" in last
        assert process.returncode == 7


def test_damaged_headers_are_refused(tmp_path: Path, start_worker: Start, demo_model: Path) -> None:
    """Keys that contradict the tensors, and sizes out of the blue: a reason, no signal."""
    whole = demo_model.read_bytes()
    damages = {
        "heads": (b"llama.attention.head_count", 4, (0).to_bytes(4, "little")),
        "layers": (b"llama.block_count", 4, (2**31 - 1).to_bytes(4, "little")),
        "width": (b"llama.embedding_length", 4, (577).to_bytes(4, "little")),
        "count": (b"GGUF", 4, (2**60).to_bytes(8, "little")),
        "architecture": (b"general.architecture", 12, b"lLama"),
    }
    for name, (key, skip, value) in damages.items():
        at = whole.index(key) + len(key) + skip
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(whole[:at] + value + whole[at + len(value) :])
        process = start_worker(path)
        _, errors = process.communicate(timeout=90)
        last = errors.decode().strip().splitlines()[-1]
        assert process.returncode > 0, f"{name}: ended by a signal\n{errors.decode()[-800:]}"
        assert last.startswith("error: "), name
        assert path.name in last or "damaged" in last, last


def test_what_it_took_is_told(worker: Any) -> None:
    """Memory by use, layers on the GPU, and the engine's share of llama.cpp in the metrics."""
    health = worker.client.get("/health").json()
    lines = worker.client.get("/metrics").text

    assert health["memory"]["weights"] > 50_000_000
    assert health["memory"]["kv"] == 2 * 30 * 4 * 512 * 192 * 2
    assert health["memory"]["compute"] > 0
    assert health["offload"].startswith("0/")
    assert 'rbee_engine_memory_bytes{use="kv"}' in lines
    assert 0 < float(lines.split("rbee_engine_decode_ratio ")[-1].split()[0]) <= 1


def test_random_disconnects_leave_nothing_behind(worker: Any) -> None:
    """Readers that hang up at any moment: their slots come back, the engine goes on."""
    rng = random.Random(7)

    def one(number: int) -> None:
        body = {
            "job_id": f"gone-{number}",
            "prompt": "word " * rng.randrange(1, 200),
            "max_tokens": rng.randrange(1, 40),
            "strict": rng.random() < 0.5,
            "sampling": {"temperature": 0.0, "ignore_eos": True},
        }
        stay = rng.randrange(0, 12)
        for count, _ in enumerate(worker.frames(body)):
            if count >= stay:
                return

    threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    # Served behind whatever was still being given up.
    assert worker.run(prompt="Hi", max_tokens=2)[-1][0] == "end"
    health = worker.client.get("/health").json()
    assert (health["slots_busy"], health["queued"]) == (0, 0)


def test_a_reader_that_does_not_read_stalls_nobody(worker: Any) -> None:
    """Its frames wait in a bounded buffer while the others get theirs."""
    url = httpx.URL(worker.ready["url"])
    body = json.dumps({"job_id": "slow", "prompt": "Once", "max_tokens": 400,
                       "sampling": {"temperature": 0.0, "ignore_eos": True}})  # fmt: skip
    with socket.create_connection((url.host, url.port)) as slow:
        head = f"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n"
        head += f"Authorization: {worker.client.headers['Authorization']}\r\n\r\n{body}"
        slow.sendall(head.encode())
        slow.recv(10)

        frames = worker.run(prompt="Hello", max_tokens=30, sampling={"ignore_eos": True})

        assert len(_ids(frames)) == 30
    assert worker.run(prompt="Hi", max_tokens=2)[-1][0] == "end"
