"""A real worker process on a free port, with a callback that the test receives."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rbee_agent.wire.sse import SseDecoder

TOKEN = "a-test-token-of-32-characters-ok"


@dataclass
class WorkerProcess:
    """A running worker and the HTTP client that knows its token."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    ready: dict[str, Any]
    callback_token: str = ""

    def frames(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The frames of one job as they come, pings left out."""
        decoder = SseDecoder()
        with self.client.stream("POST", "/execute", json=body) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                for event in decoder.feed(chunk):
                    if event.event != "ping":
                        yield event.event, json.loads(event.data)

    def run(self, **body: Any) -> list[tuple[str, dict[str, Any]]]:
        """All frames of one job, with sound defaults."""
        return list(self.frames({"job_id": os.urandom(4).hex(), **body}))


@dataclass
class Callbacks:
    """An HTTP server that keeps what workers tell it."""

    server: ThreadingHTTPServer
    said: queue.Queue[tuple[str, dict[str, Any]]] = field(default_factory=queue.Queue)
    status: int = 204

    @property
    def url(self) -> str:
        """Where workers call back."""
        return f"http://127.0.0.1:{self.server.server_port}/v1/workers/ready"


@pytest.fixture(scope="session")
def callbacks() -> Iterator[Callbacks]:
    """The hive's end of the callback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.said.put((self.headers.get("Authorization", ""), body))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Callbacks(server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="session")
def start_worker(
    callbacks: Callbacks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start worker processes that end with the session."""
    started: list[subprocess.Popen[bytes]] = []
    state = tmp_path_factory.mktemp("worker-state")

    def start(model: Path, *options: str) -> subprocess.Popen[bytes]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(state),
            "RBEE_WORKER_TOKEN": TOKEN,
            "RBEE_CALLBACK_TOKEN": "the-hives-callback-token",
            "RBEE_MODEL_ID": "smollm2-135m",
            "OMP_WAIT_POLICY": "passive",
        }
        command = [sys.executable, "-m", "rbee_agent.worker", "--model", str(model), "--port", "0"]
        command += ["--worker-id", "w1", "--callback-url", callbacks.url, *options]
        process = subprocess.Popen(
            command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def worker(
    demo_model: Path,
    callbacks: Callbacks,
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> Iterator[WorkerProcess]:
    """One worker with the demo model, ready."""
    process = start_worker(demo_model, "--ctx", "512", "--slots", "4")
    authorization, ready = callbacks.said.get(timeout=90)
    client = httpx.Client(
        base_url=ready["url"], headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
    )
    yield WorkerProcess(process, client, ready, authorization)
    client.close()
