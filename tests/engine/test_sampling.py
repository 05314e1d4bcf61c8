"""Choosing tokens: llama.cpp's samplers, numbers by seed and position, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.contracts.tasks import Sampling
from rbee_agent.engine import Engine, sampling
from rbee_agent.engine.llama import Model
from rbee_agent.engine.sampling import Candidates, Sampler, keyed_seed, top_logprobs
from rbee_agent.errors import InvalidParams, RbeeError, Refused
from tests.engine_harness import submit

pytestmark = pytest.mark.model

TWO = 'root ::= "yes" | "no"'


@pytest.fixture(scope="module")
def model(small: Engine) -> Model:
    """Weights and vocabulary of the shared engine."""
    return small._loaded()


def hill(model: Model, *tokens: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits that fall from the first of `tokens` to the last; all others lie far below."""
    logits = np.full(model.n_vocab, -20.0, dtype=np.float32)
    for rank, token in enumerate(tokens):
        logits[token] = 10.0 - 0.5 * rank
    return logits


def draws(model: Model, logits: Any, count: int = 60, **said: Any) -> set[int]:
    """Which tokens come at `count` positions."""
    sampler = Sampler(model, Sampling(**{"seed": 1, "temperature": 1.0, "min_p": 0.0, **said}))
    table = Candidates(model.n_vocab)
    try:
        return {sampler.choose(logits, position, table) for position in range(count)}
    finally:
        sampler.close()


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6))
def test_a_draw_depends_on_seed_and_position_alone(seed: int, position: int) -> None:
    """Near seeds and near positions have nothing to do with each other, and none means random."""
    one = keyed_seed(seed, position)

    assert one == keyed_seed(seed, position)
    assert one != keyed_seed(seed, position + 1)
    assert one != keyed_seed((seed + 1) % 2**64, position)
    assert 0 <= one < 0xFFFFFFFF


def test_each_cut_leaves_what_it_should(model: Model) -> None:
    """top_k, top_p, min_p and typical each narrow the choice; without them all ten come."""
    ten = range(100, 110)
    logits = hill(model, *ten)
    wide: dict[str, Any] = {"top_k": 0, "top_p": 1.0}

    assert draws(model, logits, 400, **wide) == set(ten)
    assert draws(model, logits, **{**wide, "top_k": 2}) == {100, 101}
    assert draws(model, logits, **{**wide, "top_p": 0.5}) == {100, 101}
    assert draws(model, logits, **{**wide, "min_p": 0.7}) == {100}
    assert draws(model, logits, **{**wide, "typical_p": 0.3}) < set(ten)
    assert draws(model, logits, **{**wide, "temperature": 0.0}) == {100}


def test_penalties_turn_to_other_tokens(model: Model) -> None:
    """What was said comes less: by repetition (the prompt counts), presence and frequency."""
    logits = hill(model, 100, 101)
    table = Candidates(model.n_vocab)
    for said in (
        {"repetition_penalty": 1.5},
        {"presence_penalty": 1.0},
        {"frequency_penalty": 1.0},
    ):
        sampler = Sampler(model, Sampling(temperature=0.0, **said))
        assert sampler.choose(logits, 0, table) == 100
        sampler.accept(100)
        assert sampler.choose(logits, 1, table) == 101
        sampler.close()
    prompted = Sampler(model, Sampling(temperature=0.0, repetition_penalty=1.5), prompt=[100])
    assert prompted.choose(logits, 0, table) == 101
    prompted.close()
    both = Sampler(
        model,
        Sampling(temperature=0.0, repetition_penalty=1.001, presence_penalty=2.0),
        prompt=[100],
    )
    assert both.choose(logits, 0, table) == 100, "presence counts the answer only"
    both.close()


def test_penalties_may_look_back_on_everything(model: Model) -> None:
    """`penalty_last_n` -1 means all; llama.cpp would take it for a size."""
    logits = hill(model, 100, 101)
    sampler = Sampler(
        model,
        Sampling(temperature=0.0, repetition_penalty=1.5, penalty_last_n=-1),
        prompt=[100, *range(200, 400)],
    )

    assert sampler.choose(logits, 0, Candidates(model.n_vocab)) == 101
    sampler.close()


def test_biases_forbid_and_favour(model: Model) -> None:
    """A bias is added to the logit; -100, the least of OpenAI's, forbids."""
    logits = hill(model, 100, 101)

    assert draws(model, logits, temperature=0.0, logit_bias={"101": 5.0}) == {101}
    assert draws(model, logits, temperature=0.0, logit_bias={"100": -100.0}) == {101}


@pytest.mark.parametrize("seed", range(6))
def test_the_likeliest_is_what_the_chain_would_choose(model: Model, seed: int) -> None:
    """Forbidden ends at the top, and ties behind them: the first of the best."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-9, 9, model.n_vocab).astype(np.float32)
    logits[list(model.end_tokens)] = rng.choice([8.0, 50.0])
    asked = Sampling(temperature=0.0, ignore_eos=True)
    short, long = Sampler(model, asked), Sampler(model, asked)
    assert short.greedy
    long.greedy = False
    long._chain = sampling._chain(model, asked, long._biases)

    chosen = short.choose(logits, 0, Candidates(model.n_vocab))

    assert chosen == long.choose(logits, 0, Candidates(model.n_vocab))
    assert chosen not in model.end_tokens
    long.close()


def test_where_all_is_forbidden_nothing_is_chosen(model: Model) -> None:
    """-1, which ends the answer."""
    logits = np.full(model.n_vocab, -np.inf, dtype=np.float32)
    logits[list(model.end_tokens)] = 1.0
    sampler = Sampler(model, Sampling(temperature=0.0, ignore_eos=True))

    assert sampler.choose(logits, 0, Candidates(model.n_vocab)) == -1


@pytest.mark.parametrize("bias", [{"x": 1.0}, {"-1": 1.0}, {"²": 1.0}, {"99999999": 1.0}])
def test_odd_biases_are_refused(model: Model, bias: dict[str, float]) -> None:
    """A key that names no token; the contract itself refuses values that are no number."""
    with pytest.raises(InvalidParams, match="logit_bias"):
        Sampler(model, Sampling(logit_bias=bias))


@pytest.mark.parametrize(
    "grammar", ["root ::= (", "", 'start ::= "a"', "root ::= root", 'root ::= "a"\0b']
)
def test_a_grammar_that_does_not_compile_is_refused(model: Model, grammar: str) -> None:
    """Also the empty one, which llama.cpp takes for no grammar at all."""
    with pytest.raises(InvalidParams, match="grammar"):
        Sampler(model, Sampling(), grammar=grammar)


def test_a_known_token_that_breaks_the_grammar_is_refused(model: Model) -> None:
    """llama.cpp would end the whole process for it."""
    sampler = Sampler(model, Sampling(), grammar=TWO)
    good = model.tokenize("yes", add_special=False, parse_special=False)[0]

    sampler.check(good)
    with pytest.raises(Refused, match="resume_token_ids"):
        sampler.check(model.tokenize("maybe", add_special=False, parse_special=False)[0])
    sampler.close()


def test_numbers_that_are_none_end_the_job(model: Model) -> None:
    """A damaged tensor makes NaN: an error, not token 0 for ever."""
    logits = np.full(model.n_vocab, np.nan, dtype=np.float32)
    for temperature in (0.0, 1.0):
        sampler = Sampler(model, Sampling(temperature=temperature))
        with pytest.raises(RbeeError, match="NaN"):
            sampler.choose(logits, 0, Candidates(model.n_vocab))
        sampler.close()


def test_log_probabilities_are_those_of_the_softmax() -> None:
    """The chosen one's, and the best in order, by numpy's own arithmetic."""
    logits = np.array([1.0, 3.0, 2.0, -50.0], dtype=np.float32)
    whole = np.log(np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum())

    chosen, best = top_logprobs(logits, 2, 2)

    assert chosen == pytest.approx(whole[2], abs=1e-5)
    assert [token for token, _ in best] == [1, 2]
    assert [value for _, value in best] == pytest.approx([whole[1], whole[2]], abs=1e-5)


def test_a_grammar_is_kept_to(small: Engine) -> None:
    """Whatever the model would say, the answer is one of two; then it stops by itself."""
    for temperature in (0.0, 1.5):
        run = submit(
            small, job_id="g", prompt="Tell me a story.", max_tokens=20, grammar=TWO,
            sampling={"temperature": temperature, "seed": 3},
        ).wait()  # fmt: skip
        assert run.text in ("yes", "no")
        assert run.finished is not None
        assert run.finished.finish_reason == "stop"


def test_a_grammar_that_leaves_nothing_ends_the_answer(small: Engine) -> None:
    """With the end forbidden too there is no token to choose: the answer stops, nothing crashes."""
    run = submit(
        small, job_id="i", prompt="Yes or no?", max_tokens=20, grammar=TWO,
        sampling={"temperature": 0.0, "ignore_eos": True},
    ).wait()  # fmt: skip

    assert run.text in ("yes", "no")
    assert small.detokenize(run.ids) == run.text
    assert len(run.ids) < 5


def test_grammar_and_response_format_exclude_each_other(small: Engine) -> None:
    """Neither is silently ignored."""
    with pytest.raises(Refused, match="beside"):
        submit(small, job_id="x", prompt="x", grammar=TWO, response_format={"type": "json_object"})


def test_log_probabilities_come_with_their_tokens(small: Engine) -> None:
    """One entry for each token, whose best is the one that was taken at temperature 0."""
    run = submit(
        small, job_id="lp", prompt="The sky is", max_tokens=6,
        sampling={"temperature": 0.0, "logprobs": 3, "ignore_eos": True},
    ).wait()  # fmt: skip

    assert len(run.logprobs) == 6
    for entry in run.logprobs:
        assert entry["top"][0]["token"] == entry["token"]
        assert len(entry["top"]) == 3
        assert entry["logprob"] <= 0


@pytest.mark.parametrize(
    "said",
    [
        {"temperature": math.nan}, {"temperature": -0.1}, {"temperature": 2.1}, {"top_p": 0.0},
        {"top_p": math.nan}, {"min_p": -1}, {"typical_p": 0}, {"repetition_penalty": 0},
        {"presence_penalty": math.inf}, {"frequency_penalty": math.nan}, {"seed": -1},
        {"logprobs": 21},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(said: dict[str, Any]) -> None:
    """NaN and negative parameters end at the door."""
    with pytest.raises(ValueError, match="validation error"):
        Sampling.model_validate(said)
