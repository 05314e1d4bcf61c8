"""The servers that the engine benchmark compares, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbee_agent.engine.options import physical_cores
from rbee_agent.hive.shelf import Shelf
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.places import Places

CONTEXT, CHUNK = 2560, 64
START_S = 120.0
TOKEN = "a-benchmark-token-of-its-own"
_SERVER_PACKAGES = (
    "fastapi", "uvicorn", "sse-starlette", "starlette-context", "pydantic-settings", "PyYAML",
)  # fmt: skip
# As our worker has it, for all alike.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
_HERE = Path(__file__).parent


@dataclass
class Contestant:
    """A server that streams tokens."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    mark: bytes = b"event: token"
    """Comes once for each token."""
    path: str = ""
    ready_path: str = "/health"
    """Answered with 200 once it can work; empty: listening is enough."""
    token: str = ""
    body: Callable[[str, int, dict[str, Any]], dict[str, Any]] = lambda *_: {}
    widths: tuple[int, ...] = (1, 2, 4, 8, 16)
    """At how many streams it takes part."""
    announce: Callable[[int, list[str], int], Awaitable[asyncio.StreamWriter]] | None = None

    async def ready(self) -> Contestant:
        """Itself, once it answers."""
        async with asyncio.timeout(START_S):
            while not await self._answers():
                assert self.process.poll() is None, f"{self.name} ended"
                await asyncio.sleep(0.2)
        return self

    async def _answers(self) -> bool:
        if not self.ready_path:
            return _listens(self.port)
        try:
            await self.get(self.ready_path)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()

    async def get(self, path: str) -> bytes:
        """What it answers to a GET."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}", self.token)

    async def health(self) -> dict[str, Any]:
        """Our worker's health."""
        found: dict[str, Any] = json.loads(await self.get("/health"))
        return found

    async def gauge(self, name: str) -> float:
        """One of our worker's metrics."""
        text = (await self.get("/metrics")).decode()
        return float(next(x.split()[-1] for x in text.splitlines() if x.startswith(name)))


def find_model() -> str:
    """The demo model's file.

    Raises:
        SystemExit: it is not here.
    """
    named = os.environ.get("RBEE_DEMO_MODEL")
    known = None if named else Shelf(Places.of_user(), SystemClock()).get("smollm2-135m")
    if named is None and known is None:
        raise SystemExit("no demo model: make model")
    return named or str(known.path if known else "")


def rbee_worker(model: str, *, slots: int) -> Contestant:
    """Our own."""
    port = _free_port()
    command = [sys.executable, "-m", "rbee_agent.worker", "--model", model, "--port", str(port)]
    command += ["--ctx", str(CONTEXT), "--slots", str(slots), "--threads", str(_threads())]
    command += ["--state-dir", tempfile.mkdtemp(), "--log-level", "warning"]
    process = subprocess.Popen(command, env={**os.environ, "RBEE_WORKER_TOKEN": TOKEN})

    def body(text: str, tokens: int, options: dict[str, Any]) -> dict[str, Any]:
        sampling = {"temperature": 0.0, "seed": 1, "ignore_eos": True}
        said = {"job_id": os.urandom(6).hex(), "prompt": text, "max_tokens": tokens}
        return {**said, "sampling": sampling, **options}

    return Contestant("rbee", port, process, path="/execute", token=TOKEN, body=body)


def bare_loop(model: str, tokenizer: Contestant, slots: int) -> Contestant:
    """The raw limit; token ids come from our worker."""
    port = _free_port()
    numbers = [str(number) for number in (slots, CONTEXT, _threads(), CHUNK)]
    command = [sys.executable, str(_HERE / "_bare_loop.py"), str(port), model, *numbers]
    process = subprocess.Popen(command)

    async def announce(width: int, texts: list[str], tokens: int) -> asyncio.StreamWriter:
        prompts = [await asyncio.to_thread(_tokenize, tokenizer, text) for text in texts]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        said = {"width": width, "prompts": prompts, "tokens": tokens}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()
        return writer

    return Contestant("bare loop", port, process, ready_path="", announce=announce)


def llama_cpp_server(model: str) -> Contestant:
    """llama-cpp-python's own server: one request at a time."""
    port, folder = _free_port(), _server_packages()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--port", str(port)]
    command += ["--n_ctx", str(CONTEXT), "--n_threads", str(_threads()), "--verbose", "False"]
    command += ["--interrupt_requests", "False", "--flash_attn", "True"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )

    def body(text: str, tokens: int, _: dict[str, Any]) -> dict[str, Any]:
        said = {"prompt": text, "max_tokens": tokens, "temperature": 0, "stream": True}
        return {**said, "logit_bias": {"0": -100, "2": -100}}

    return Contestant(
        "llama_cpp.server", port, process, mark=b'"finish_reason": null', path="/v1/completions",
        ready_path="/v1/models", body=body, widths=(1, 8),
    )  # fmt: skip


def llama_server(model: str, binary: str, slots: int) -> Contestant:
    """llama.cpp's own server."""
    port = _free_port()
    command = [binary, "-m", model, "--port", str(port), "-np", str(slots), "--no-webui"]
    command += ["-c", str(CONTEXT * slots), "-t", str(_threads()), "-fa", "on", "-b", str(CHUNK)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def body(text: str, tokens: int, _: dict[str, Any]) -> dict[str, Any]:
        said = {"prompt": text, "n_predict": tokens, "temperature": 0, "stream": True}
        return {**said, "ignore_eos": True, "cache_prompt": False}

    return Contestant(
        "llama-server", port, process, mark=b'"stop":false', path="/completion", body=body
    )


def _server_packages() -> Path:
    """Where pip has put the packages that llama_cpp.server needs and rbee does not."""
    folder = Path(tempfile.gettempdir()) / f"rbee-bench-{os.getuid()}"
    if not folder.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-qq", "--target", str(folder)]
        subprocess.run([*command, *_SERVER_PACKAGES], check=True, timeout=300)
    return folder


def _get(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found


def _tokenize(one: Contestant, text: str) -> list[int]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{one.port}/tokenize",
        data=json.dumps({"text": text}).encode(),
        headers={"Authorization": f"Bearer {one.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[int] = json.load(answer)["tokens"]
    return found


def _listens(port: int) -> bool:
    """Whether somebody holds the port; a connection would be taken for a run."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _threads() -> int:
    return physical_cores()
