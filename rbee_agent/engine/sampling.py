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
from rbee_agent.engine.llama import Logits, Model
from rbee_agent.errors import InvalidParams

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
        self._sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._chain: Any = None
        self._grammar: Any = _grammar(model, grammar) if grammar is not None else None
        bias = _bias(model, sampling)
        self.greedy = (
            sampling.temperature == 0
            and not bias
            and self._grammar is None
            and sampling.repetition_penalty == 1
            and sampling.presence_penalty == 0
            and sampling.frequency_penalty == 0
        )
        if not self.greedy:
            self._chain = _chain(model, sampling, bias)
            tail = max(0, sampling.penalty_last_n)
            if sampling.repetition_penalty != 1:
                for token in prompt[len(prompt) - min(tail, len(prompt)) :]:
                    llama_cpp.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        for sampler in (self._chain, self._grammar):
            if sampler:
                llama_cpp.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def choose(self, logits: Logits, position: int, candidates: Candidates) -> int:
        """The token that follows; call `accept` with it afterwards."""
        if self.greedy:
            return int(np.argmax(logits))
        token = self._draw(logits, position, candidates, constrained=False)
        if self._grammar is None or self._allows(token, candidates):
            return token
        return self._draw(logits, position, candidates, constrained=True)

    def accept(self, token: int) -> None:
        """Tell penalties and grammar what was chosen (or replayed)."""
        if self._chain:
            llama_cpp.llama_sampler_accept(self._chain, token)
        if self._grammar:
            llama_cpp.llama_sampler_accept(self._grammar, token)

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
        return candidates.selected

    def _allows(self, token: int, candidates: Candidates) -> bool:
        llama_cpp.llama_sampler_apply(self._grammar, candidates.one(token))
        return math.isfinite(candidates.first_logit)


def check_grammar(model: Model, grammar: str) -> None:
    """See whether a grammar parses, before any work is done.

    Raises:
        InvalidParams: it does not.
    """
    llama_cpp.llama_sampler_free(_grammar(model, grammar))


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
    last_n = sampling.penalty_last_n
    if sampling.repetition_penalty != 1:
        add(
            chain,
            llama_cpp.llama_sampler_init_penalties(last_n, sampling.repetition_penalty, 0.0, 0.0),
        )
    if sampling.presence_penalty or sampling.frequency_penalty:
        add(
            chain,
            llama_cpp.llama_sampler_init_penalties(
                last_n, 1.0, sampling.frequency_penalty, sampling.presence_penalty
            ),
        )
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


def _bias(model: Model, sampling: Sampling) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in (sampling.logit_bias or {}).items():
        if not key.isdigit() or int(key) >= model.n_vocab:
            raise InvalidParams(
                [
                    {
                        "field": "logit_bias",
                        "constraint": "token_id",
                        "message": f"keys are token ids below {model.n_vocab}",
                    }
                ]
            )
        bias[int(key)] = value
    if sampling.ignore_eos:
        bias.update(dict.fromkeys(model.end_tokens, -math.inf))
    return bias


def _grammar(model: Model, grammar: str) -> Any:
    made = llama_cpp.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    if not made:
        raise InvalidParams(
            [
                {
                    "field": "grammar",
                    "constraint": "gbnf",
                    "message": "the grammar does not parse, or has no rule `root`",
                }
            ]
        )
    return made
