"""One request inside the engine: from prompt ids to frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rbee_agent.contracts.frames import EndFrame, FinishReason
from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.answer import Answer, Vocabulary
from rbee_agent.engine.cache import Slot
from rbee_agent.engine.context import Logits
from rbee_agent.engine.sampling import Candidates, Sampler, top_logprobs
from rbee_agent.engine.sink import Sink
from rbee_agent.engine.tools.pieces import Piece, Text, joined

RestOfCall = Callable[[str, str], str]
"""The grammar of what follows a tool's name, and what its first token holds before."""


class Job:
    """The state of one generation. Used by the engine's thread once it was submitted."""

    def __init__(
        self,
        request: ExecuteRequest,
        prompt: list[int],
        sampler: Sampler,
        sink: Sink,
        *,
        limit: int,
        vocabulary: Vocabulary,
        answer: Answer,
        rest_of_call: RestOfCall | None = None,
    ) -> None:
        """Prepare a generation of at most `limit` tokens behind `prompt`, read by `answer`.

        A call that the model begins of itself goes on as `rest_of_call` has it.
        """
        self.id = request.job_id
        self.strict = request.strict
        self.cold = request.kv_hint == "cold"
        self.tokens_in = len(prompt)
        replay = list(request.resume_token_ids[:limit])
        self.prompt = prompt if request.strict else prompt + replay
        """What is read in chunks. Only for strict jobs do chunks and single tokens differ."""
        self.sink = sink
        self.sampler = sampler
        self.slot: Slot | None = None
        self.cancelled = False
        self.next_token = -1
        """The token that the next decode feeds; -1 until the prompt is read."""
        self.cached = 0
        self.passed_over = 0
        self.finish: FinishReason | None = None
        self._ignore_eos = request.sampling.ignore_eos
        self._logprobs = request.sampling.logprobs
        self._limit = limit
        self._vocabulary = vocabulary
        self._replay = replay
        self._answer = answer
        self._rest_of_call = rest_of_call
        self._generated: list[int] = []
        self._pending: list[Piece] = []
        self._unsent: list[int] = []
        self._unsent_logprobs: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self._started = self._began
        self._first_token: float | None = None
        self._prefilled: float | None = None
        deadline = request.deadline_ms
        self.deadline = None if deadline is None else self._began + deadline / 1000

    @property
    def replaying(self) -> bool:
        """Whether tokens that the caller has are still to be fed, behind a prompt that is read."""
        return self.next_token >= 0 and len(self._generated) < len(self._replay)

    @property
    def reading(self) -> bool:
        """Whether the prompt or known tokens are still to be fed."""
        return self.next_token < 0 or self.replaying

    @property
    def unread(self) -> int:
        """Tokens of the prompt and of the replay that are still to be fed."""
        held = 0 if self.slot is None else len(self.slot.tokens)
        return self.tokens_in + len(self._replay) - held

    def start(self, slot: Slot, kept: int) -> None:
        """The job has its slot; `kept` prompt tokens are in it already."""
        self.slot, self.cached = slot, kept
        self._started = time.monotonic()

    @property
    def known(self) -> list[int]:
        """Tokens to feed for which the choice that follows is known too."""
        if self.next_token < 0:
            return []
        later = self._replay[len(self._generated) :]
        return [self.next_token, *later[:-1]] if later else []

    def replay(self, count: int = 1) -> None:
        """The next tokens are known: take them as if they had been chosen, and show nothing.

        Raises:
            Refused: they break the request's own grammar.
        """
        for _ in range(count):
            if self.finish is not None:
                return
            token = self._replay[len(self._generated)]
            self.sampler.check(token)
            self._take(token, show=False)
        self.sink.progress("replay", len(self._generated), len(self._replay))

    def prompt_read(self) -> bool:
        """All of `prompt` is in the slot; known tokens that it held are taken now.

        Returns:
            Whether the logits behind it are those of the next token to choose.
        """
        self._prefilled = time.monotonic()
        if self._replay:
            self.replay(1 if self.strict else len(self._replay))
        return self.finish is None and not (self.strict and self._replay)

    def advance(self, logits: Logits, candidates: Candidates) -> bool:
        """Take the logits behind what was fed: choose a token, show its text.

        Returns:
            Whether a token was made, which the end is not.
        """
        token = self.sampler.choose(logits, len(self._generated), candidates)
        if token < 0:
            # The grammar has come to its end; or, where ends are allowed, to a place without one.
            self.finish = "stop" if self._ignore_eos else "length"
            return False
        if not self._ignore_eos and self._vocabulary.ends(token):
            self.finish = "stop"
            return False
        if self._first_token is None:
            self._first_token = time.monotonic()
        if self._logprobs is not None:
            self._unsent_logprobs.append(self._logprob_entry(logits, token))
        self._take(token, show=True)
        return True

    def close(self) -> None:
        """Free the sampler."""
        self.sampler.close()

    def end(self, *, profile: str | None) -> None:
        """Send what is held back, then the bill."""
        self._pending += self._answer.finish()
        if self._unsent:
            self._send()
        now = time.monotonic()
        prefilled = self._prefilled or now
        first = self._first_token
        self.sink.end(
            EndFrame(
                tokens_in=self.tokens_in,
                tokens_out=len(self._generated),
                tokens_cached=self.cached,
                queue_time_ms=round((self._started - self._began) * 1000),
                prefill_time_ms=round((prefilled - self._started) * 1000),
                decode_time_ms=round((now - prefilled) * 1000),
                first_token_ms=None if first is None else round((first - self._began) * 1000),
                finish_reason=self._reason(),
                stop_sequence=self._answer.stopped_by,
                exact_profile=profile,
            )
        )

    def _take(self, token: int, *, show: bool) -> None:
        self.sampler.accept(token)
        self._generated.append(token)
        self.next_token = token
        self._pending += self._answer.push(token)
        if self._rest_of_call is not None and (begun := self._answer.opening()) is not None:
            self.sampler.constrain(self._rest_of_call(*begun), token)
        if show:
            self._unsent.append(token)
        # A frame ends where nothing is held back: there the stream may go on elsewhere.
        if self._pending and not self._answer.holding:
            if show:
                self._send()
            self._pending.clear()
        if self._answer.stopped:
            self.finish = "stop"
        elif len(self._generated) >= self._limit:
            self.finish = "length"

    def _reason(self) -> FinishReason:
        if self.finish == "length" or not self._answer.calls:
            return self.finish or "stop"
        return "tool_calls"

    def _send(self) -> None:
        index = len(self._generated) - 1
        pieces = joined(self._pending) or [Text("")]
        if len(pieces) == 1 and isinstance(pieces[0], Text):
            text, channel = pieces[0]
            logprobs = self._unsent_logprobs if self._logprobs is not None else None
            self.sink.token(text, index, self._unsent, logprobs, channel)
        else:
            self.sink.pieces(pieces, index, self._unsent)
        self._unsent, self._unsent_logprobs = [], []

    def _logprob_entry(self, logits: Logits, token: int) -> dict[str, Any]:
        chosen, best = top_logprobs(logits, token, self._logprobs or 0)

        def entry(of: int, value: float) -> dict[str, Any]:
            raw = self._vocabulary.piece(of)
            return {
                "token": raw.decode(errors="replace"),
                "logprob": value,
                "bytes": list(raw),
            }

        return {**entry(token, chosen), "top": [entry(one, value) for one, value in best]}
