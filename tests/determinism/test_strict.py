"""Strict: the same bytes alone, in a crowd, cold, warm, and moved to another process."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.engine import Engine
from rbee_agent.engine.options import EngineOptions
from tests.engine_harness import OtherProcess, Run, running, submit

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

LONG = "RBEE_LONG" in os.environ
SEEDS = range(64 if LONG else 4)
EVERY_LONG = 4
"""Of so many prompts one is long: attention changes its kernels with the number of cells."""
SLOTS = 4
MAX_TOKENS = 20
PROOF_S = 1800.0 if LONG else 800.0
_WORDS = (Path(__file__).parent.parent.parent / "docs" / "architecture.md").read_text().split()


@dataclass
class Lab:
    """One model in three engines: alone and unproved, crowded and proved, and far away."""

    alone: Engine
    crowded: Engine
    far: OtherProcess
    proved: list[str]


def case(seed: int, temperature: float) -> dict[str, Any]:
    """A request whose prompt ends anywhere in a chunk."""
    rng = random.Random(seed)
    long = seed % EVERY_LONG == EVERY_LONG - 1
    words = rng.choices(_WORDS, k=rng.randrange(130, 160) if long else rng.randrange(20, 110))
    return {
        "prompt": " ".join(words),
        "max_tokens": MAX_TOKENS,
        "strict": True,
        "sampling": {"temperature": temperature, "seed": seed, "ignore_eos": True},
    }


def strangers(engine: Engine, seed: int) -> list[Run]:
    """Fill all slots but one with others, strict and not, long and short."""
    rng = random.Random(1000 + seed)
    runs = []
    for index in range(SLOTS - 1):
        said = case(rng.randrange(10**6), rng.choice([0.0, 1.0]))
        said["strict"] = rng.random() < 0.5
        said["max_tokens"] = rng.randrange(MAX_TOKENS // 2, 3 * MAX_TOKENS)
        runs.append(submit(engine, job_id=f"stranger-{seed}-{index}-{time.monotonic()}", **said))
    return runs


def prove(engine: Engine) -> list[str]:
    """Ask for strict once, and wait until the engine has proved what it can."""
    submit(engine, job_id="first", **case(0, 0.0)).wait()
    until = time.monotonic() + PROOF_S
    while not engine.proofs_complete:
        assert time.monotonic() < until, "the proofs do not end"
        time.sleep(0.05)
    return engine.profile().proved


@pytest.fixture(scope="module", params=["demo", "second"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Both architectures, one after the other."""
    model = request.getfixturevalue(f"{request.param}_model")
    state = tmp_path_factory.mktemp("proofs")
    options = EngineOptions(model_path=model, context=512, slots=SLOTS)
    with (
        running(replace(options, slots=1)) as alone,
        running(replace(options, state_dir=state)) as crowded,
    ):
        proved = prove(crowded)
        far = OtherProcess(replace(options, slots=2, state_dir=state))
        yield Lab(alone, crowded, far, proved)
        far.close()


def same(found: list[int], wanted: list[int], how: str) -> None:
    """Fail with the first token that differs."""
    if found == wanted:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b),
        min(len(found), len(wanted)),
    )
    pytest.fail(f"{how}: token {at} differs: {found[at : at + 4]} is not {wanted[at : at + 4]}")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("seed", SEEDS)
def test_strict_is_the_same_everywhere(lab: Lab, seed: int, temperature: float) -> None:
    """Alone, among strangers, cold, warm in the same slot and another, resumed elsewhere."""
    asked = case(seed, temperature)
    name = f"{seed}-{temperature}"
    wanted = submit(lab.alone, job_id="alone", kv_hint="cold", **asked).wait().ids
    assert len(wanted) == MAX_TOKENS

    others = strangers(lab.crowded, seed)
    crowd = submit(lab.crowded, job_id=f"crowd-{name}", **asked)
    same(crowd.wait().ids, wanted, "among strangers")
    for other in others:
        other.wait()

    cold = submit(lab.crowded, job_id=f"cold-{name}", kv_hint="cold", **asked).wait()
    same(cold.ids, wanted, "cold")
    assert cold.finished is not None
    assert cold.finished.tokens_cached == 0

    warm = submit(lab.crowded, job_id=f"warm-{name}", **asked).wait()
    same(warm.ids, wanted, "warm in the same slot")
    assert warm.finished is not None
    if cold.tokens_in > 64 and "reuse" in lab.proved:
        assert warm.finished.tokens_cached >= 64

    # The slot that holds the prefix is busy with it: the second one must copy or begin anew.
    first = submit(lab.crowded, job_id=f"first-{name}", **asked)
    second = submit(lab.crowded, job_id=f"second-{name}", **asked)
    same(first.wait().ids, wanted, "first of two")
    same(second.wait().ids, wanted, "warm from another slot")

    cut = random.Random(seed).randrange(1, MAX_TOKENS)
    rest = lab.far.run(job_id=f"moved-{name}", resume_token_ids=wanted[:cut], **asked)
    same(rest, wanted[cut:], f"resumed behind {cut} tokens in another process")


def test_the_proof_finds_falsehoods(second_model: Path) -> None:
    """On the second architecture at least one shortcut is found to change bits."""
    options = EngineOptions(model_path=second_model, context=512, slots=SLOTS)
    with running(options) as engine:
        proved = prove(engine)
    every = {"silent", "reuse", "copy", "restore", *(f"batch:{n}" for n in range(2, SLOTS + 1))}
    assert every - set(proved), "the proof found nothing wrong: can it find anything?"


def test_unproved_shortcuts_are_not_used(second_model: Path) -> None:
    """Strict right after the start, with nothing proved, is exact all the same."""
    options = EngineOptions(model_path=second_model, context=512, slots=SLOTS)
    with running(options) as engine:
        for seed in range(4):
            asked = case(seed, 0.0)
            wanted = submit(engine, job_id=f"alone-{seed}", kv_hint="cold", **asked).wait().ids
            others = strangers(engine, seed)
            crowd = submit(engine, job_id=f"crowd-{seed}", **asked).wait()
            same(crowd.ids, wanted, "among strangers, unproved")
            for other in others:
                other.wait()
        assert engine.profile().proved == []


def test_sampled_streams_depend_on_the_seed(demo_model: Path) -> None:
    """Two seeds at temperature 0.8 give different answers: no answer is canned."""
    with running(EngineOptions(model_path=demo_model, context=512, slots=1)) as engine:
        asked = case(3, 0.8)
        one = submit(engine, job_id="a", **asked).wait().ids
        asked["sampling"] = {**asked["sampling"], "seed": 4}
        assert submit(engine, job_id="b", **asked).wait().ids != one
