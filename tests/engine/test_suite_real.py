"""The public test suite's schemas in llama.cpp: its grammar takes what we say, a model obeys it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable

import jsonschema
import pytest

from rbee_agent.contracts.tasks import Sampling
from rbee_agent.engine import Engine
from rbee_agent.engine.sampling import Sampler
from rbee_agent.errors import InvalidParams, Refused
from rbee_agent.grammar import Grammar, compile_schema
from tests.engine_harness import Run
from tests.grammar.conftest import Case
from tests.grammar.writer import RandomWriter

LONG = "RBEE_LONG" in os.environ
EVERY = 1 if LONG else 24
"""A model answers every so many schemas; the grammar is tried with all."""
MAX_TOKENS = 150 if LONG else 60
pytestmark = [pytest.mark.model, pytest.mark.timeout(7200 if LONG else 400)]

_VALIDATOR = jsonschema.Draft202012Validator

Ask = Callable[..., Run]


def _enforced(suite: list[Case]) -> list[tuple[Case, Grammar]]:
    found = []
    for case in suite:
        grammar = Grammar()
        try:
            grammar.rules["answer"] = compile_schema(case.schema, grammar, field="f", prefix="s")
        except InvalidParams:
            continue
        found.append((case, grammar))
    return found


def test_llama_cpp_takes_every_text_of_every_grammar(suite: list[Case], engine: Engine) -> None:
    """What our grammars write, theirs allows token by token, and then the end; no token early."""
    model = engine._model
    assert model is not None
    chance = random.Random(11)
    for case, grammar in _enforced(suite):
        writer = RandomWriter(grammar, chance)
        for _ in range(2):
            text = writer.text("answer", budget=30)
            tokens = engine.tokenize(text)
            if engine.detokenize(tokens) != text:
                continue  # The demo vocabulary lacks some bytes.
            sampler = Sampler(model, Sampling(temperature=1.0), grammar=grammar.text("answer"))
            try:
                for token in tokens:
                    sampler.check(token)
                    sampler.accept(token)
                sampler.check(model.eos)
            except Refused as error:
                raise AssertionError(f"{case.name}: {text!r}") from error
            finally:
                sampler.close()


def test_a_model_s_answers_are_valid(
    suite: list[Case], engine: Engine, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer that ends by itself validates under the schema it was asked for."""
    closers = {str(engine.tokenize(text)[-1]): 6.0 for text in ('"', "}", "]", '"}', "]}", "}}")}
    ended = cut = 0
    for place, (case, _) in enumerate(_enforced(suite)):
        if place % EVERY:
            continue
        if not isinstance(case.schema, dict):
            continue
        run = ask(
            prompt="An example of such JSON:\n",
            response_format={"type": "json_schema", "json_schema": case.schema},
            sampling={"temperature": 0.9, "seed": place, "logit_bias": closers},
            max_tokens=MAX_TOKENS,
        )
        assert run.finished is not None
        if run.finished.finish_reason != "stop":
            cut += 1
            continue
        ended += 1
        value = json.loads(run.text)
        checker = _VALIDATOR.FORMAT_CHECKER
        _VALIDATOR(case.schema, format_checker=checker).validate(value)
    with capsys.disabled():
        print(f"\nreal answers: {ended} ended and valid, {cut} cut off at {MAX_TOKENS} tokens")
    assert ended > cut, "too few answers ended to tell anything"
