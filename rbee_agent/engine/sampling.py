"""Choosing the next token with llama.cpp's samplers.

The one thing that is ours is the random number: it is drawn from (seed, position) and not from a
generator that runs along, so a stream that is moved goes on with the numbers it would have had.
"""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from rbee_agent.contracts.tasks import Sampling
from rbee_agent.engine.context import Logits
from rbee_agent.engine.llama import Model
from rbee_agent.errors import InvalidParams, RbeeError, Refused

_MASK64 = (1 << 64) - 1
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)], align=True)


def keyed_seed(seed: int, position: int) -> int:
    """A 32-bit seed for one draw, from the request's seed and the token's position.

    SplitMix64's finaliser (Steele, Lea, Flood 2014) over both, so that near seeds are far apart.
    """
    value = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 1) & _MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK64
    # The greatest number means "take a random one" to llama.cpp.
    return min((value ^ (value >> 31)) & 0xFFFFFFFF, 0xFFFFFFFE)


class Candidates:
    """The table of all tokens that samplers sort and cut; one for each engine, reused."""

    def __init__(self, n_vocab: int) -> None:
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._table: npt.NDArray[Any] = np.zeros(n_vocab, dtype=_TOKEN_DATA)
        self._array = llama_cpp.llama_token_data_array()

    def fill(self, logits: Logits) -> Any:
        """All tokens with their logits, ready for samplers; valid until the next call."""
        self._table["id"] = self._ids
        self._table["logit"] = logits
        self._table["p"] = 0.0
        pointer = self._table.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self._array.data = pointer
        self._array.size = len(self._table)
        self._array.selected = -1
        self._array.sorted = False
        return ctypes.byref(self._array)

    def one(self, token: int) -> Any:
        """A table of a single token, to ask a grammar about it."""
        self._table[0] = (token, 1.0, 0.0)
        self._array.data = self._table.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self._array.size = 1
        self._array.selected = -1
        self._array.sorted = False
        return ctypes.byref(self._array)

    @property
    def selected(self) -> int:
        """The token that the last sampler chose."""
        return int(self._array.data[self._array.selected].id)

    @property
    def selected_logit(self) -> float:
        """Its logit, -inf where nothing could be chosen."""
        return float(self._array.data[self._array.selected].logit)

    @property
    def first_logit(self) -> float:
        """The logit of the first entry, -inf where a grammar struck it out."""
        return float(self._array.data[0].logit)


class Sampler:
    """The sampling state of one sequence; rebuilt from its token ids by `accept`."""

    def __init__(
        self,
        model: Model,
        sampling: Sampling,
        *,
        grammar: str | None = None,
        prompt: Sequence[int] = (),
    ) -> None:
        """Build the chain.

        Args:
            model: whose vocabulary it is.
            sampling: the request's parameters.
            grammar: GBNF with the start symbol ``root``; it must have been checked.
            prompt: token ids that the repetition penalty also looks at.

        Raises:
            InvalidParams: the grammar does not parse, or a bias names no token.
        """
        self._model = model
        self._sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._chain: Any = None
        self._grammar: Any = _grammar(model, grammar) if grammar is not None else None
        self._biases = bias = _biases(model, sampling)
        self._forbidden = np.array([t for t, by in bias.items() if by == -math.inf], dtype=np.int64)
        self.greedy = (
            sampling.temperature == 0
            and len(self._forbidden) == len(bias)
            and self._grammar is None
            and sampling.repetition_penalty == 1
            and sampling.presence_penalty == 0
            and sampling.frequency_penalty == 0
        )
        if not self.greedy:
            self._chain = _chain(model, sampling, bias)
            tail = _window(model, sampling)
            if sampling.repetition_penalty != 1:
                # Of the chain's parts only this one counts the prompt.
                repetition = llama_cpp.llama_sampler_chain_get(self._chain, 1 if bias else 0)
                for token in prompt[len(prompt) - min(tail, len(prompt)) :]:
                    llama_cpp.llama_sampler_accept(repetition, token)

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        for sampler in (self._chain, self._grammar):
            if sampler:
                llama_cpp.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def choose(self, logits: Logits, position: int, candidates: Candidates) -> int:
        """The token that follows; call `accept` with it afterwards.

        Returns:
            Its id, or -1 where grammar and biases leave none.

        Raises:
            RbeeError: the model computes no numbers.
        """
        if self.greedy:
            return self._likeliest(logits)
        if math.isnan(logits[0]):
            raise _no_numbers()
        token = self._draw(logits, position, candidates, constrained=False)
        if self._grammar is None or token < 0 or self._allows(token, candidates):
            return token
        return self._draw(logits, position, candidates, constrained=True)

    def constrain(self, grammar: str, token: int) -> None:
        """From now on the answer goes on as `grammar` has it, which `token` has begun.

        Where the token does not fit, nothing is constrained.
        """
        if self._grammar:
            llama_cpp.llama_sampler_free(self._grammar)
        self._grammar = _grammar(self._model, grammar)
        if not self._allows(token, Candidates(1)):
            llama_cpp.llama_sampler_free(self._grammar)
            self._grammar = None
            return
        llama_cpp.llama_sampler_accept(self._grammar, token)
        if self.greedy:
            self.greedy = False
            self._chain = _chain(self._model, self._sampling, self._biases)

    def check(self, token: int) -> None:
        """See that a known token may follow; llama.cpp ends the process for one that may not.

        Raises:
            Refused: the grammar does not allow it.
        """
        if self._grammar is not None and not self._allows(token, Candidates(1)):
            raise Refused("resume_token_ids break the request's own grammar")

    def accept(self, token: int) -> None:
        """Tell penalties and grammar what was chosen (or replayed)."""
        if self._chain:
            llama_cpp.llama_sampler_accept(self._chain, token)
        if self._grammar:
            llama_cpp.llama_sampler_accept(self._grammar, token)

    def _likeliest(self, logits: Logits) -> int:
        """What the chain's greedy sampler would choose, without its table of all tokens."""
        token = int(np.argmax(logits))
        if not math.isfinite(logits[token]):
            raise _no_numbers()
        if token not in self._forbidden:
            return token
        allowed = logits.copy()
        allowed[self._forbidden] = -math.inf
        token = int(np.argmax(allowed))
        return token if math.isfinite(allowed[token]) else -1

    def _draw(
        self, logits: Logits, position: int, candidates: Candidates, *, constrained: bool
    ) -> int:
        table = candidates.fill(logits)
        if constrained:
            llama_cpp.llama_sampler_apply(self._grammar, table)
        llama_cpp.llama_sampler_apply(self._chain, table)
        if self._sampling.temperature > 0:
            last = llama_cpp.llama_sampler_init_dist(keyed_seed(self._seed, position))
        else:
            last = llama_cpp.llama_sampler_init_greedy()
        llama_cpp.llama_sampler_apply(last, table)
        llama_cpp.llama_sampler_free(last)
        return candidates.selected if math.isfinite(candidates.selected_logit) else -1

    def _allows(self, token: int, candidates: Candidates) -> bool:
        llama_cpp.llama_sampler_apply(self._grammar, candidates.one(token))
        return math.isfinite(candidates.first_logit)


def _no_numbers() -> RbeeError:
    return RbeeError(
        "the model computes no numbers (NaN): its file is damaged, or does not suit this device",
        code="BACKEND_UNAVAILABLE",
    )


def top_logprobs(logits: Logits, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """The chosen token's log-probability and those of the `count` most likely tokens."""
    peak = float(logits.max())
    norm = peak + math.log(float(np.exp(logits - peak).sum()))
    best: list[tuple[int, float]] = []
    if count:
        part = np.argpartition(logits, -count)[-count:]
        ranked = sorted(part.tolist(), key=lambda index: (-float(logits[index]), index))
        best = [(index, float(logits[index]) - norm) for index in ranked]
    return float(logits[token]) - norm, best


def _chain(model: Model, sampling: Sampling, bias: dict[int, float]) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    add = llama_cpp.llama_sampler_chain_add
    if bias:
        table = (llama_cpp.llama_logit_bias * len(bias))(
            *(llama_cpp.llama_logit_bias(token, value) for token, value in bias.items())
        )
        add(chain, llama_cpp.llama_sampler_init_logit_bias(model.n_vocab, len(bias), table))
    last_n, vocabulary = _window(model, sampling), model.n_vocab
    repeat, presence = sampling.repetition_penalty, sampling.presence_penalty
    frequency = sampling.frequency_penalty
    if repeat != 1:
        add(chain, llama_cpp.llama_sampler_init_penalties(vocabulary, last_n, repeat, 0.0, 0.0))
    if presence or frequency:
        # Apart from repetition, which alone counts the prompt too.
        made = llama_cpp.llama_sampler_init_penalties(vocabulary, last_n, 1.0, frequency, presence)
        add(chain, made)
    if sampling.temperature > 0:
        if sampling.top_k:
            add(chain, llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.typical_p < 1:
            add(chain, llama_cpp.llama_sampler_init_typical(sampling.typical_p, 1))
        if sampling.top_p < 1:
            add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            add(chain, llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
    return chain


def _window(model: Model, sampling: Sampling) -> int:
    """How many tokens penalties look back on; -1 asks for all that the model can hold."""
    asked = sampling.penalty_last_n
    return model.context_length if asked < 0 else min(asked, model.context_length)


def _biases(model: Model, sampling: Sampling) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in (sampling.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal()) or int(key) >= model.n_vocab:
            raise _refused("logit_bias", f"keys are token ids below {model.n_vocab}")
        if math.isnan(value) or value == math.inf:
            raise _refused("logit_bias", "values are numbers, or -inf to forbid a token")
        bias[int(key)] = value
    if sampling.ignore_eos:
        bias.update(dict.fromkeys(model.end_tokens, -math.inf))
    return bias


def _grammar(model: Model, grammar: str) -> Any:
    if not grammar or "\0" in grammar:
        raise _refused("grammar", "the grammar is empty, or holds a NUL character")
    made = llama_cpp.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    if not made:
        raise _refused("grammar", "the grammar does not parse, or has no rule `root`")
    return made


def _refused(field: str, message: str) -> InvalidParams:
    return InvalidParams([{"field": field, "constraint": "valid", "message": message}])
