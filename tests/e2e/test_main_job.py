"""The main job, end to end, on a real model: from a bare home to tokens, and back to nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rbee_agent.runtime.processes import Identity
from rbee_agent.testing.live_fleet import MODEL, LiveFleet

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

COLOURS = ("infer", "-m", MODEL, "-p", "Name three colours.", "--max-tokens", "32")
EXACT = (*COLOURS, "--temperature", "0", "--seed", "1")
SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty")


def minute_in_words(minute: int) -> str:
    """A number below sixty as English words."""
    if minute < 20:
        return SMALL[minute]
    return TENS[minute // 10] + (f"-{SMALL[minute % 10]}" if minute % 10 else "")


def start_rbee(fleet: LiveFleet, *args: str) -> subprocess.Popen[bytes]:
    """``rbee ARGS`` as a running process."""
    return subprocess.Popen(
        [sys.executable, "-m", "rbee_tui", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in fleet.env.items() if name != "PYTHONUNBUFFERED"},
        cwd=fleet.root,
    )


def queen(fleet: LiveFleet) -> httpx.Client:
    """A plain HTTP client of the fleet's queen: no SDK between the test and the wire."""
    return httpx.Client(base_url=fleet.record("queen")["url"], timeout=60.0)


def frames(response: httpx.Response) -> list[dict[str, Any]]:
    """The frames of an event stream that has ended, each with its ``id:``."""
    found = []
    for block in response.text.replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            data = json.loads(lines["data"])
            assert data["type"] == lines["event"]
            found.append({**data, "id": lines.get("id")})
    return found


def token_text(found: list[dict[str, Any]]) -> tuple[str, list[int]]:
    """The text and the indexes of all token frames, batches taken apart."""
    tokens = [t for f in found if f["type"] == "token" for t in f.get("batch", [f])]
    return "".join(t["t"] for t in tokens), [t["i"] for t in tokens]


def test_the_same_bytes_twice(fleet: LiveFleet) -> None:
    """Temperature 0 and a seed: two runs print the same, and it is an answer."""
    first, second = fleet.ok(*EXACT), fleet.ok(*EXACT)

    assert first == second
    assert len(first.split()) >= 3


def test_no_canned_text(fleet: LiveFleet) -> None:
    """Another prompt gives another answer, and the bill counts this prompt's tokens."""
    words = minute_in_words(datetime.now(UTC).minute)
    prompt = f"It is {words} minutes past the hour. Repeat the minutes: {words}"
    one = fleet.document("infer", "-m", MODEL, "-p", prompt, "--max-tokens", "16", "--raw")
    more = fleet.document(
        "infer", "-m", MODEL, "-p", prompt + " and again", "--max-tokens", "16", "--raw"
    )

    assert one["usage"]["tokens_in"] >= len(prompt.split())
    assert more["usage"]["tokens_in"] == one["usage"]["tokens_in"] + 2
    assert 1 <= one["usage"]["tokens_out"] <= 16
    assert one["text"]


def test_the_json_document(fleet: LiveFleet) -> None:
    """`--json`: the text of the plain run, usage and timings that add up."""
    document = fleet.document(*EXACT)

    assert document["text"] + "\n" == fleet.ok(*EXACT) or document["text"] == fleet.ok(*EXACT)
    assert document["usage"]["tokens_out"] <= 32
    assert document["timings"]["first_token_ms"] >= 0
    assert document["timings"]["decode_time_ms"] > 0
    assert document["finish_reason"] in ("stop", "length")
    assert document["resumed"] == 0


def test_the_first_token_is_shown_before_the_last_is_made(fleet: LiveFleet) -> None:
    """The task still runs on the queen when the first text is on stdout."""
    long = ("infer", "-m", MODEL, "-p", "Tell a very long story.", "--max-tokens", "400")
    process = start_rbee(fleet, *long, "--temperature", "0", "--seed", "1")
    try:
        assert process.stdout is not None
        assert process.stdout.read(1)
        running = fleet.document("task", "ls", "--state", "running")["tasks"]
        assert [task["model"] for task in running] == [MODEL]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_ctrl_c_cancels_on_the_queen(fleet: LiveFleet) -> None:
    """Exit 130, and when the process is gone the task is cancelled already."""
    process = start_rbee(
        fleet, "infer", "-m", MODEL, "-p", "Tell a very long story.", "--max-tokens", "900"
    )
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    newest = fleet.document("task", "ls")["tasks"][0]
    assert process.returncode == 130
    assert newest["state"] == "cancelled"


def test_the_frames_of_the_contract(fleet: LiveFleet) -> None:
    """Order, ids and the bill of a stream are as documented, also when it is read again."""
    with queen(fleet) as http:
        body = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "seed": 1}
        accepted = http.post("/v2/tasks", json={**body, "temperature": 0})
        assert accepted.status_code == 202
        path = f"/v2/tasks/{accepted.json()['job_id']}/events"
        whole = frames(http.get(path))
        rest = frames(http.get(path, headers={"Last-Event-ID": "4"}))

    kinds = [f["type"] for f in whole if f["type"] not in ("metrics", "narration", "queued")]
    assert kinds[0] == "started"
    assert kinds[-1] == "end"
    assert set(kinds[1:-1]) == {"token"}
    text, indexes = token_text(whole)
    assert indexes == sorted(set(indexes))
    assert whole[-1]["tokens_out"] == 12
    assert whole[-1]["id"] is not None
    assert all(f["id"] is None for f in whole if f["type"] in ("started", "metrics", "queued"))
    rest_text, rest_indexes = token_text(rest)
    assert rest_indexes == [index for index in indexes if index > 4]
    assert text.endswith(rest_text)


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(fleet: LiveFleet) -> None:
    """Nothing is cut silently: exit 7 and both numbers."""
    done = fleet.rbee("infer", "-m", MODEL, "-p", "-", "--raw", stdin="word " * 40_000)

    assert done.returncode == 7
    assert done.stdout == ""
    assert sum(word.strip(",.;:()").isdigit() for word in done.stderr.split()) >= 2


def test_up_again_and_down_again(new_fleet: Callable[..., LiveFleet]) -> None:
    """A second up says that it runs already; down leaves no process; a second down is harmless."""
    fleet = new_fleet()
    first = fleet.ok("up", "--model", MODEL)
    pids = {process.pid for process in fleet.processes()}
    identities = [Identity.of(pid) for pid in pids]
    second = fleet.ok("up")

    assert "started" in first
    assert second.count("runs already") == 2
    assert {process.pid for process in fleet.processes()} == pids
    assert len(pids) >= 3

    assert "stopped" in fleet.ok("down")
    assert fleet.processes() == []
    assert not [found for found in identities if found.alive]
    assert fleet.ok("down").strip() == "nothing runs"
    assert fleet.rbee("ps").returncode == 5


def test_a_port_in_use_names_who_has_it(new_fleet: Callable[..., LiveFleet]) -> None:
    """Exit 7, the process that has the port, and the flag that chooses another; nothing is left."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        fleet = new_fleet()
        done = fleet.rbee("up", "--queen-port", str(port))

    assert done.returncode == 7
    assert f"pid {os.getpid()}" in done.stderr
    assert "--queen-port" in done.stderr
    assert fleet.processes() == []


def test_a_killed_queen_loses_nothing(new_fleet: Callable[..., LiveFleet]) -> None:
    """SIGKILL between the POST and the first token, then a new queen: the whole answer comes."""
    fleet = new_fleet()
    fleet.ok("up", "--model", MODEL)
    fixed_port = {"RBEE_QUEEN_PORT": fleet.record("queen")["url"].rpartition(":")[2]}
    body = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 16}
    exact = {**body, "temperature": 0, "seed": 1, "detach": True}
    with queen(fleet) as http:
        calm = http.post("/v2/tasks", json={**exact, "task_id": "calm"})
        expected, _ = token_text(frames(http.get("/v2/tasks/calm/events")))
        killed = http.post("/v2/tasks", json={**exact, "task_id": "killed"})
        os.kill(fleet.record("queen")["pid"], signal.SIGKILL)
    assert (calm.status_code, killed.status_code) == (202, 202)

    again = fleet.rbee("up", **fixed_port)
    assert again.returncode == 0, again.stderr
    with queen(fleet) as http:
        found = frames(http.get("/v2/tasks/killed/events"))

    text, indexes = token_text(found)
    assert text == expected
    assert indexes == sorted(set(indexes))
    assert found[-1]["type"] == "end"


def test_infer_lives_through_a_restart_of_the_queen(new_fleet: Callable[..., LiveFleet]) -> None:
    """The queen is killed in mid-stream; `rbee infer` prints what it would have printed."""
    fleet = new_fleet()
    fleet.ok("up", "--model", MODEL)
    long = ("infer", "-m", MODEL, "-p", "Tell a very long story.", "--max-tokens", "60")
    exact = (*long, "--temperature", "0", "--seed", "1")
    expected = fleet.ok(*exact)
    record = fleet.record("queen")
    process = start_rbee(fleet, *exact)
    assert process.stdout is not None
    # Past the buffer, which `communicate` does not know.
    first = os.read(process.stdout.fileno(), 1)
    os.kill(record["pid"], signal.SIGKILL)
    port = record["url"].rpartition(":")[2]
    assert fleet.rbee("up", RBEE_QUEEN_PORT=port).returncode == 0
    rest, err = process.communicate(timeout=120)

    assert process.returncode == 0, err.decode()
    assert (first + rest).decode() == expected


def test_a_cut_model_file_is_refused_by_name(
    new_fleet: Callable[..., LiveFleet], demo_model: Path, tmp_path: Path
) -> None:
    """A GGUF that is cut short is refused when it is registered, not when a worker dies of it."""
    fleet = new_fleet()
    half = tmp_path / "half.gguf"
    with demo_model.open("rb") as whole:
        half.write_bytes(whole.read(demo_model.stat().st_size // 2))

    with pytest.raises(AssertionError, match=r"half\.gguf"):
        fleet.register_model(half, "half")


def test_the_demo_from_nothing_to_nothing(new_fleet: Callable[..., LiveFleet]) -> None:
    """`rbee demo` without a terminal: hosts and workers, an answer, nothing left, exit 0."""
    fleet = new_fleet()
    done = fleet.rbee("demo", "--max-tokens", "24")

    assert done.returncode == 0, done.stderr
    assert "HOST" in done.stdout
    assert MODEL in done.stdout
    assert len(done.stdout.rpartition("\n\n")[2].split()) >= 5
    assert fleet.processes() == []


def test_an_interrupted_demo_leaves_nothing(new_fleet: Callable[..., LiveFleet]) -> None:
    """Ctrl-C in the middle of the demo stops all that it started, exit 130."""
    fleet = new_fleet()
    process = start_rbee(fleet, "demo", "--max-tokens", "800")
    assert process.stdout is not None
    while b"HOST" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert fleet.processes() == []
