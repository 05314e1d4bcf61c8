"""Embeddings and rerank scores: a context of its own, one input at a time between decode steps."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.context import Context
from rbee_agent.engine.llama import Model
from rbee_agent.engine.sink import Sink
from rbee_agent.errors import RbeeError, Refused

POOLING_NONE, POOLING_LAST, POOLING_RANK = 0, 3, 4


@dataclass(slots=True, eq=False)
class _EmbedJob:
    id: str
    inputs: list[list[int]]
    sink: Sink
    deadline: float | None = None
    fed: int = 0
    """Tokens of the present input that are computed."""
    done: list[dict[str, Any]] = field(default_factory=list)
    cancelled: bool = False


class Embedder:
    """Takes its turn in the scheduler's loop; its context is made when first needed."""

    def __init__(self, model: Model, make_context: Callable[[], Context], *, chunk: int) -> None:
        """Embed with `model` in the context that `make_context` gives, in parts of `chunk`."""
        self._chunk = chunk
        self._model = model
        self._make = make_context
        self._context: Context | None = None
        self._jobs: deque[_EmbedJob] = deque()
        self._lock = threading.Lock()

    def submit(self, request: ExecuteRequest, sink: Sink, *, limit: int) -> None:
        """Any thread: queue the inputs of a request; `sink` is told that it was accepted.

        Raises:
            RbeeError: an input is longer than `limit` tokens or empty, or the model does not do
                this kind of work.
        """
        texts = request.inputs or []
        self._refuse_other_work(request.workload)
        if request.workload == "rerank":
            if request.query is None:
                raise Refused("rerank needs a query")
            inputs = [self._pair(request.query, text) for text in texts]
        else:
            inputs = [
                self._model.tokenize(text, add_special=True, parse_special=False) for text in texts
            ]
        for tokens in inputs:
            if not tokens:
                raise Refused("an input is empty")
            if len(tokens) > limit:
                raise Refused(
                    f"an input has {len(tokens)} tokens, the context holds {limit}",
                    code="CONTEXT_LENGTH_EXCEEDED",
                    details={"tokens": len(tokens), "context": limit},
                )
        sink.accepted(sum(len(tokens) for tokens in inputs))
        with self._lock:
            self._jobs.append(_EmbedJob(request.job_id, inputs, sink, _deadline(request)))

    def cancel(self, job_id: str) -> bool:
        """Any thread: end a job before its next input; whether there was one."""
        with self._lock:
            for job in self._jobs:
                if job.id == job_id:
                    job.cancelled = True
                    if self._context is not None and job is self._jobs[0]:
                        self._context.interrupt(True)
                    return True
        return False

    def step(self) -> bool:
        """Engine thread: embed one input; False when nobody waits."""
        with self._lock:
            job = self._jobs[0] if self._jobs else None
        if job is None:
            return False
        try:
            self._one(job)
        except RbeeError as error:
            job.sink.error(error)
            self._drop(job)
        return True

    @property
    def waiting(self) -> int:
        """Jobs in it."""
        return len(self._jobs)

    def fail_all(self, error: RbeeError) -> None:
        """Engine thread: end every job with `error`."""
        for job in list(self._jobs):
            job.sink.error(error)
            self._drop(job)

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def _one(self, job: _EmbedJob) -> None:
        if self._context is None:
            self._context = self._make()
        with self._lock:
            self._context.interrupt(False)
            if job.cancelled:
                raise RbeeError("the task was cancelled", code="CANCELLED")
        if job.deadline is not None and time.monotonic() > job.deadline:
            raise RbeeError("the deadline is over", code="DEADLINE_EXCEEDED")
        if len(job.done) < len(job.inputs):
            self._feed(self._context, job, job.inputs[len(job.done)])
            return
        job.sink.result(job.done)
        tokens = sum(len(tokens) for tokens in job.inputs)
        job.sink.end(EndFrame(tokens_in=tokens, tokens_out=0))
        self._drop(job)

    def _drop(self, job: _EmbedJob) -> None:
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)

    def _feed(self, context: Context, job: _EmbedJob, tokens: list[int]) -> None:
        """Compute one call's part of an input, and its answer behind the last."""
        if job.fed == 0:
            context.clear()
        # Only what looks back alone may be read in parts; else all tokens see each other.
        size = self._chunk if self._looks_back(context) else len(tokens)
        part = tokens[job.fed : job.fed + size]
        context.decode_run(0, part, job.fed, logits=True)
        job.fed += len(part)
        if job.fed == len(tokens):
            job.done.append(self._answer(context, len(job.done), len(tokens)))
            job.fed = 0

    def _looks_back(self, context: Context) -> bool:
        # A sequence's embedding is that of its last token: earlier parts leave only their cells.
        return context.pooling == POOLING_LAST and self._model.decodes and context.has_memory

    def _answer(self, context: Context, index: int, count: int) -> dict[str, Any]:
        vector = context.embedding(0)
        if vector is None:
            raise RbeeError("llama.cpp gave no embedding", code="WORKER_RESET")
        if context.pooling == POOLING_RANK:
            return {"index": index, "score": float(vector[0])}
        norm = float(np.linalg.norm(vector))
        values = (vector / norm if norm else vector).tolist()
        return {"index": index, "embedding": values, "tokens": count}

    def _refuse_other_work(self, workload: str) -> None:
        pooling = self._model.pooling
        if pooling == POOLING_NONE:
            raise Refused("this model gives no embeddings: its file names no pooling")
        if (pooling == POOLING_RANK) != (workload == "rerank"):
            does = "ranks" if pooling == POOLING_RANK else "embeds"
            raise Refused(f"this model {does}: {workload} is not what it was made for")

    def _pair(self, query: str, text: str) -> list[int]:
        """Query and document as the file's rerank template has them, else between separators."""
        model = self._model
        template = model.metadata("tokenizer.chat_template.rerank")
        if template is not None:
            whole = template.replace("{query}", query).replace("{document}", text)
            return model.tokenize(whole, add_special=False, parse_special=True)
        left = model.tokenize(query, add_special=False, parse_special=False)
        right = model.tokenize(text, add_special=False, parse_special=False)
        end = [model.eos if model.eos >= 0 else model.sep] if model.adds_eos else []
        between = [*end, *([model.sep] if model.adds_sep else [])]
        begin = [model.bos] if model.adds_bos and model.bos >= 0 else []
        return [*begin, *left, *between, *right, *end]


def _deadline(request: ExecuteRequest) -> float | None:
    left = request.deadline_ms
    return None if left is None else time.monotonic() + left / 1000
