"""Run requests through a real engine without a server around it, here or in another process."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from rbee_agent.contracts.frames import EndFrame, Phase
from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine import Engine
from rbee_agent.engine.options import EngineOptions
from rbee_agent.engine.tools.pieces import Call, Piece
from rbee_agent.errors import RbeeError

WAIT_S = 100.0


@dataclass
class Run:
    """A sink that keeps everything; `wait` until it has ended."""

    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    tokens_in: int = 0
    proof: str | None = None
    """How the prompt was read."""
    finished: EndFrame | None = None
    failed: RbeeError | None = None
    endings: int = 0
    on_token: Callable[[int], None] | None = None
    """Called on the engine's thread with how many ids there are."""
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self.texts)

    def wait(self) -> Run:
        """Until the end; an error is raised."""
        self.settle()
        if self.failed is not None:
            raise self.failed
        return self

    def settle(self) -> Run:
        """Until the end, good or bad."""
        assert self.done.wait(WAIT_S), "the engine does not end it"
        return self

    def accepted(self, tokens_in: int, prompt_ids_sha256: str | None = None) -> None:
        """Sink."""
        assert prompt_ids_sha256 is None or len(prompt_ids_sha256) == 64
        self.tokens_in = tokens_in
        self.proof = prompt_ids_sha256

    def token(
        self,
        text: str,
        index: int,
        ids: list[int],
        logprobs: list[dict[str, Any]] | None = None,
        channel: str | None = None,
    ) -> None:
        """Sink."""
        assert self.endings == 0, "nothing comes behind the end"
        assert channel in (None, "content", "reasoning")
        self.ids += ids
        (self.thoughts if channel == "reasoning" else self.texts).append(text)
        self.logprobs += logprobs or []
        assert index >= len(self.ids) - 1
        if self.on_token is not None:
            self.on_token(len(self.ids))

    def pieces(self, pieces: Sequence[Piece], index: int, ids: list[int]) -> None:
        """Sink."""
        assert self.endings == 0, "nothing comes behind the end"
        self.ids += ids
        assert index >= len(self.ids) - 1
        for piece in pieces:
            if isinstance(piece, Call):
                self._call(piece)
            elif piece.channel is None:
                self.texts.append(piece.text)
            else:
                self.thoughts.append(piece.text)
        if self.on_token is not None:
            self.on_token(len(self.ids))

    def _call(self, piece: Call) -> None:
        while len(self.calls) <= piece.number:
            # A resumed stream may begin in the middle of a call.
            self.calls.append({"id": None, "name": None, "arguments": ""})
        call = self.calls[piece.number]
        if piece.name is not None:
            call |= {"id": piece.id, "name": piece.name}
        call["arguments"] += piece.arguments

    def result(self, data: list[dict[str, Any]]) -> None:
        """Sink."""
        self.results += data

    def progress(self, phase: Phase, done: int, total: int) -> None:
        """Sink."""
        assert 0 <= done <= total
        if self.phases[-1:] != [phase]:
            self.phases.append(phase)

    def end(self, frame: EndFrame) -> None:
        """Sink."""
        self.finished = frame
        self._over()

    def error(self, error: RbeeError) -> None:
        """Sink."""
        self.failed = error
        self._over()

    def _over(self) -> None:
        self.endings += 1
        assert self.endings == 1, "one end, and no more"
        self.done.set()


@contextmanager
def running(options: EngineOptions) -> Iterator[Engine]:
    """A loaded engine that works until the block is left."""
    engine = Engine(options)
    engine.load(lambda _: None)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def submit(engine: Engine, **said: Any) -> Run:
    """Start a request; `said` are fields of ExecuteRequest."""
    run = Run(on_token=said.pop("on_token", None))
    engine.submit(ExecuteRequest.model_validate(said), run)
    return run


class OtherProcess:
    """An engine in a process of its own, asked one request after the other."""

    def __init__(self, options: EngineOptions) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, options), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, **said: Any) -> list[int]:
        """The token ids that it makes of a request."""
        self._ours.send(said)
        assert self._ours.poll(WAIT_S), "the other process does not answer"
        answer: list[int] = self._ours.recv()
        return answer

    def close(self) -> None:
        """End it."""
        self._ours.send(None)
        self._process.join(WAIT_S)
        assert self._process.exitcode == 0


def _serve(pipe: Connection, options: EngineOptions) -> None:
    with running(options) as engine:
        while (said := pipe.recv()) is not None:
            pipe.send(submit(engine, **said).wait().ids)
