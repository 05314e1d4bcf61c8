"""A worker without a model: speaks the worker protocol over real HTTP, and fails on command.

Its text is a pure function of the prompt, so that a stream that was moved can be compared byte for
byte with one that was not; it refuses to go on behind token ids that it would not have made.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from rbee_agent.contracts.frames import AcceptedFrame, EndFrame, ErrorFrame, PingFrame
from rbee_agent.contracts.workers import (
    ExactProfile,
    ExecuteRequest,
    WorkerHealth,
    WorkerInfo,
    WorkerState,
)
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import Server
from rbee_agent.testing.worker_texts import Words
from rbee_agent.wire.frames import token_frame
from rbee_agent.wire.sse import encode

WORDS = (
    "amber",
    "bee",
    "comb",
    "drone",
    "egg",
    "flower",
    "garden",
    "hive",
    "ivory",
    "jar",
    "larva",
)
DEFAULT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. Numbers count tokens of one execution; None: never."""

    break_after: int | None = None
    """Close the connection without an end."""
    silent_after: int | None = None
    """Send nothing more, and do not answer health: a stopped process."""
    stall_after: int | None = None
    """Go on pinging with a step that does not grow: a hung engine."""
    skip_after: int | None = None
    """Leave a token out and go on: a lie."""
    double_after: int | None = None
    """Send a token twice."""
    error_after: int | None = None
    error_code: str = "INTERNAL"
    refuse_code: str | None = None
    """Answer every execution with this error at once."""
    end_early: bool = False
    """Say end without any token."""
    times: int = 1
    """How many executions go wrong; then all is well."""


@dataclass(slots=True)
class Seen:
    """What the worker was asked and did."""

    executions: int = 0
    generated: int = 0
    """Tokens made, not counting those replayed."""
    replayed: int = 0
    cancelled: int = 0
    requests: list[ExecuteRequest] = field(default_factory=list)


class FakeWorker:
    """One worker; an async context manager that serves on a free port.

    Args:
        worker_id: its id.
        model: the model it says it has.
        slots: sequences at a time (told, not enforced).
        token_s: seconds between tokens; 0: as fast as they can be written.
        faults: what goes wrong.
        fingerprint: of its pretended model file.
        profile: id of its pretended exact profile.
        context: tokens that a slot holds; a prompt of more words is refused.
    """

    def __init__(
        self,
        worker_id: str = "w1",
        *,
        model: str = "demo",
        slots: int = 4,
        token_s: float = 0.0,
        faults: Faults | None = None,
        fingerprint: str = "f" * 64,
        profile: str = "profile-a",
        node_id: str = "node-1",
        context: int = 4096,
    ) -> None:
        self.id = worker_id
        self.context = context
        self.model = model
        self.slots = slots
        self.token_s = token_s
        self.faults = faults or Faults(times=0)
        self.fingerprint = fingerprint
        self.profile = profile
        self.node_id = node_id
        self.token = f"worker-token-of-{worker_id}-0123456789"
        self.seen = Seen()
        self.step = 0
        self.incarnation = 1
        self.gate: asyncio.Event | None = None
        """Where set, tokens wait for it: tests hold a stream in its middle."""
        self.script: list[tuple[str, dict[str, Any]]] | None = None
        """Where set, these frames are said in place of words: tool calls, reasoning, an odd end."""
        self._stopped = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/execute", self._execute)
        app.router.add_post("/cancel", self._cancel)
        app.router.add_get("/health", self._health)
        Words().serve(app.router)
        self._server = Server(app, shutdown_timeout=0.05)
        await self._server.start("127.0.0.1", 0, choose="another port")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._server is not None:
            await self._server.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None  # noqa: S101 - entered
        return f"http://127.0.0.1:{self._server.port}"

    def info(self, state: WorkerState = WorkerState.READY) -> WorkerInfo:
        """The worker as its hive reports it."""
        return WorkerInfo(
            id=self.id,
            node_id=self.node_id,
            model=self.model,
            fingerprint=self.fingerprint,
            state=state,
            url=self.url,
            token=self.token,
            slots=self.slots,
            context=self.context,
            incarnation=self.incarnation,
            profile=ExactProfile(
                id=self.profile,
                fingerprint=self.fingerprint,
                build="test",
                device_kind="test",
                threads=1,
                flash_attention=False,
                kv_type="f16",
                prefill_chunk=64,
            ),
        )

    async def _health(self, _: web.Request) -> web.StreamResponse:
        if self._silent:
            await self._stopped.wait()
        return json_response(
            WorkerHealth(
                status="ready",
                worker_id=self.id,
                model=self.model,
                fingerprint=self.fingerprint,
                slots=self.slots,
                context=self.context,
                step=self.step,
            ).dump()
        )

    async def _cancel(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _error(401, "BAD_TOKEN", "not this worker's token")
        job = ExecuteRequest.read_json(await request.read())
        self.seen.executions += 1
        self.seen.requests.append(job)
        faults = self._faults_now()
        if faults.refuse_code is not None:
            return _error(400, faults.refuse_code, "refused on command")
        if len(prompt_text(job).split()) > self.context:
            return _error(400, "CONTEXT_LENGTH_EXCEEDED", "the prompt does not fit")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(request, response, job, faults)
        except (ConnectionResetError, asyncio.CancelledError):
            self.seen.cancelled += 1
            raise
        return response

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        job: ExecuteRequest,
        faults: Faults,
    ) -> None:
        total = job.max_tokens or DEFAULT_TOKENS
        text = prompt_text(job)
        accepted = AcceptedFrame(
            job_id=job.job_id,
            tokens_in=len(text.split()),
            prompt_ids_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
        await response.write(encode(accepted.dump_json(), event="accepted"))
        if job.workload in ("embedding", "rerank"):
            await self._result(response, job)
            return
        if self.script is not None:
            for kind, frame in self.script:
                await response.write(encode(_compact({"type": kind, **frame}), event=kind))
            return
        done = len(job.resume_token_ids)
        if job.resume_token_ids != [token_id(text, place) for place in range(done)]:
            await _say_error(response, "INTERNAL", "these are not the ids that I would have made")
            return
        self.seen.replayed += done
        if faults.end_early:
            total = done
        for place in range(done, total):
            made = place - done
            if await self._goes_wrong(request, response, made, faults):
                return
            await self._pause(response)
            self.step += 1
            shown = (
                place + 1 if faults.skip_after is not None and made >= faults.skip_after else place
            )
            await response.write(encode(frame_of(text, shown), event="token"))
            if faults.double_after == made:
                await response.write(encode(frame_of(text, shown), event="token"))
            self.seen.generated += 1
        end = EndFrame(
            tokens_in=len(text.split()),
            tokens_out=total,
            finish_reason="length",
            exact_profile=self.profile,
        )
        await response.write(encode(end.dump_json(), event="end"))

    async def _result(self, response: web.StreamResponse, job: ExecuteRequest) -> None:
        rank = job.workload == "rerank"
        data = [
            {"index": place, **({"score": size} if rank else {"embedding": [size]})}
            for place, size in enumerate(float(len(text)) for text in job.inputs or [])
        ]
        await response.write(encode(json.dumps({"type": "result", "data": data}), event="result"))
        end = EndFrame(tokens_in=len(data), tokens_out=0)
        await response.write(encode(end.dump_json(), event="end"))

    async def _pause(self, response: web.StreamResponse) -> None:
        if self.gate is not None:
            while not self.gate.is_set():
                try:
                    async with asyncio.timeout(0.3):
                        await self.gate.wait()
                except TimeoutError:
                    self.step += 1
                    ping = PingFrame(step=self.step, phase="decode")
                    await response.write(encode(ping.dump_json(), event="ping"))
        if self.token_s:
            await asyncio.sleep(self.token_s)

    async def _goes_wrong(
        self, request: web.Request, response: web.StreamResponse, made: int, faults: Faults
    ) -> bool:
        if faults.break_after == made:
            if request.transport is not None:
                request.transport.abort()
            return True
        if faults.silent_after == made:
            self._silent = True
            await self._stopped.wait()
            return True
        if faults.stall_after == made:
            await self._stall(response)
            return True
        if faults.error_after == made:
            await _say_error(response, faults.error_code, "failed on command")
            return True
        return False

    async def _stall(self, response: web.StreamResponse) -> None:
        while not self._stopped.is_set():
            ping = PingFrame(step=self.step, phase="decode")
            await response.write(encode(ping.dump_json(), event="ping"))
            try:
                async with asyncio.timeout(0.3):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    _silent = False

    def _faults_now(self) -> Faults:
        if self.faults.times <= 0:
            return Faults()
        self.faults = replace(self.faults, times=self.faults.times - 1)
        return self.faults


def prompt_text(job: ExecuteRequest) -> str:
    """The words of a job's prompt."""
    if job.prompt is not None:
        return job.prompt
    return "\n".join(message.text() for message in job.messages or [])


def token_id(prompt: str, place: int) -> int:
    """The id of the token at a place in the answer to a prompt."""
    digest = hashlib.blake2b(f"{prompt}\0{place}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) % 50_000


def token_text(prompt: str, place: int) -> str:
    """The text of the token at a place in the answer to a prompt."""
    return f" {WORDS[token_id(prompt, place) % len(WORDS)]}"


def answer(prompt: str, tokens: int) -> str:
    """The whole answer to a prompt, as any fake worker gives it."""
    return "".join(token_text(prompt, place) for place in range(tokens))


def frame_of(prompt: str, place: int) -> str:
    """One token frame as a worker sends it."""
    return token_frame(place, token_text(prompt, place), [token_id(prompt, place)])


def _compact(frame: dict[str, Any]) -> str:
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


async def _say_error(response: web.StreamResponse, code: str, message: str) -> None:
    frame = ErrorFrame(code=code, message=message)
    await response.write(encode(frame.dump_json(), event="error"))


def _error(status: int, code: str, message: str) -> web.Response:
    body = {"error": {"code": code, "message": message, "retriable": False}}
    return json_response(body, status=status)
