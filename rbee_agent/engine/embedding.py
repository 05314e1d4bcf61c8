"""Embeddings and rerank scores: a context of its own, one input at a time between decode steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.llama import Context, Model
from rbee_agent.engine.sink import Sink
from rbee_agent.errors import RbeeError, Refused

POOLING_NONE, POOLING_RANK = 0, 4


@dataclass(slots=True, eq=False)
class _EmbedJob:
    id: str
    inputs: list[list[int]]
    sink: Sink
    done: list[dict[str, Any]] = field(default_factory=list)
    cancelled: bool = False


class Embedder:
    """Takes its turn in the scheduler's loop; its context is made when first needed."""

    def __init__(self, model: Model, make_context: Callable[[], Context]) -> None:
        """Embed with `model` in the context that `make_context` gives."""
        self._model = model
        self._make = make_context
        self._context: Context | None = None
        self._jobs: deque[_EmbedJob] = deque()
        self._lock = threading.Lock()

    def submit(self, request: ExecuteRequest, sink: Sink, *, limit: int) -> int:
        """Any thread: queue the inputs of a request.

        Returns:
            How many tokens they have.

        Raises:
            RbeeError: an input is longer than `limit` tokens, or there is none.
        """
        texts = request.inputs or []
        if request.workload == "rerank":
            if request.query is None:
                raise Refused("rerank needs a query")
            inputs = [self._pair(request.query, text) for text in texts]
        else:
            inputs = [
                self._model.tokenize(text, add_special=True, parse_special=False) for text in texts
            ]
        for tokens in inputs:
            if len(tokens) > limit:
                raise Refused(
                    f"an input has {len(tokens)} tokens, the context holds {limit}",
                    code="CONTEXT_LENGTH_EXCEEDED",
                    details={"tokens": len(tokens), "context": limit},
                )
        with self._lock:
            self._jobs.append(_EmbedJob(request.job_id, inputs, sink))
        return sum(len(tokens) for tokens in inputs)

    def cancel(self, job_id: str) -> bool:
        """Any thread: end a job before its next input; whether there was one."""
        with self._lock:
            for job in self._jobs:
                if job.id == job_id:
                    job.cancelled = True
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

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def _one(self, job: _EmbedJob) -> None:
        if job.cancelled:
            raise RbeeError("the task was cancelled", code="CANCELLED")
        if self._context is None:
            self._context = self._make()
        if len(job.done) < len(job.inputs):
            job.done.append(self._embed(self._context, len(job.done), job.inputs[len(job.done)]))
            return
        job.sink.result(job.done)
        tokens = sum(len(tokens) for tokens in job.inputs)
        job.sink.end(EndFrame(tokens_in=tokens, tokens_out=0))
        self._drop(job)

    def _drop(self, job: _EmbedJob) -> None:
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)

    def _embed(self, context: Context, index: int, tokens: list[int]) -> dict[str, Any]:
        if tokens:
            context.clear()
            context.decode_run(0, tokens, 0, logits=True)
        vector = context.embedding(0) if tokens else None
        if vector is None:
            raise Refused("this model gives no embeddings: its file names no pooling")
        if context.pooling == POOLING_RANK:
            return {"index": index, "score": float(vector[0])}
        norm = float(np.linalg.norm(vector))
        values = (vector / norm if norm else vector).tolist()
        return {"index": index, "embedding": values, "tokens": len(tokens)}

    def _pair(self, query: str, text: str) -> list[int]:
        """Query and document with a separator between, as cross-encoders are trained."""
        left = self._model.tokenize(query, add_special=True, parse_special=False)
        right = self._model.tokenize(text, add_special=True, parse_special=False)
        return left + right
