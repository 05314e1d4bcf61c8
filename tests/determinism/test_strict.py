"""Strict: the same bytes alone, in a crowd, cold, warm, and moved to another process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest

import rbee_agent.engine
from rbee_agent.engine import Engine
from rbee_agent.engine.options import EngineOptions
from tests.engine_harness import OtherProcess, Run, running, submit

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

LONG = "RBEE_LONG" in os.environ
CASES = [(seed, temperature) for seed in range(64) for temperature in (0.0, 0.8)]
if not LONG:
    CASES = [(0, 0.0), (1, 0.8), (2, 0.0), (3, 0.0), (3, 0.8)]
EVERY_LONG = 4
"""Of so many prompts one is long: attention changes its kernels with the number of cells."""
SLOTS = 4
MAX_TOKENS = 20
PROOF_S = 1800.0 if LONG else 800.0
_KEPT = platformdirs.user_cache_path("rbee-tests") / "proofs"
"""Taken before tests get homes of their own: proofs cost a minute, and a later run reads them."""
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
        "sampling": {"temperature": temperature, "seed": seed, "ignore_eos": True, "logprobs": 1},
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


@pytest.fixture(scope="session")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where proofs are kept: by the engine's source, so that a changed engine proves anew."""
    if LONG:
        return tmp_path_factory.mktemp("proofs")
    source = hashlib.sha256()
    for path in sorted(Path(rbee_agent.engine.__file__).parent.glob("*.py")):
        source.update(path.read_bytes())
    folder = _KEPT / source.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Of several test processes the first proves, the others wait for it and read."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prove(options: EngineOptions) -> list[str]:
    """Ask for strict once, and wait until all is tried or was tried before; what is proved."""
    assert options.state_dir is not None
    with held(options.state_dir / "lock"), running(options) as engine:
        if not engine.proofs_complete:
            submit(engine, job_id="first", **case(0, 0.0)).wait()
        until = time.monotonic() + PROOF_S
        while not engine.proofs_complete:
            assert time.monotonic() < until, "the proofs do not end"
            time.sleep(0.05)
        return engine.profile().proved


@pytest.fixture(scope="module", params=["demo", "second"])
def lab(request: pytest.FixtureRequest, proofs: Path) -> Iterator[Lab]:
    """Both architectures, one after the other."""
    model = request.getfixturevalue(f"{request.param}_model")
    options = EngineOptions(model_path=model, context=512, slots=SLOTS, state_dir=proofs)
    proved = prove(options)
    with (
        running(replace(options, slots=1, state_dir=None)) as alone,
        running(options) as crowded,
    ):
        assert crowded.proofs_complete
        far = OtherProcess(replace(options, slots=2))
        yield Lab(alone, crowded, far, proved)
        far.close()


def shown(run: Run) -> list[tuple[int, float]]:
    """Its tokens with their log-probabilities: a wrong bit shows there long before in a token."""
    said = [one["logprob"] for one in run.wait().logprobs]
    return list(zip(run.ids, said, strict=True))


def same(found: Sequence[Any], wanted: Sequence[Any], how: str) -> None:
    """Fail with the first token that differs."""
    if found == wanted:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b),
        min(len(found), len(wanted)),
    )
    pytest.fail(f"{how}: token {at} differs: {found[at : at + 4]} is not {wanted[at : at + 4]}")


@pytest.mark.parametrize(("seed", "temperature"), CASES)
def test_strict_is_the_same_everywhere(lab: Lab, seed: int, temperature: float) -> None:
    """Alone, among strangers, cold, warm in the same slot and another, resumed elsewhere."""
    asked = case(seed, temperature)
    name = f"{seed}-{temperature}"
    alone = submit(lab.alone, job_id="alone", kv_hint="cold", **asked)
    wanted = shown(alone)
    assert len(wanted) == MAX_TOKENS

    others = strangers(lab.crowded, seed)
    crowd = submit(lab.crowded, job_id=f"crowd-{name}", **asked)
    same(shown(crowd), wanted, "among strangers")
    for other in others:
        other.wait()

    cold = submit(lab.crowded, job_id=f"cold-{name}", kv_hint="cold", **asked).wait()
    same(shown(cold), wanted, "cold")
    assert cold.finished is not None
    assert cold.finished.tokens_cached == 0

    warm = submit(lab.crowded, job_id=f"warm-{name}", **asked).wait()
    same(shown(warm), wanted, "warm in the same slot")
    assert warm.finished is not None
    if cold.tokens_in > 64 and "reuse" in lab.proved:
        assert warm.finished.tokens_cached >= 64

    # The slot that holds the prefix is busy with it: the second one must copy or begin anew.
    first = submit(lab.crowded, job_id=f"first-{name}", **asked)
    second = submit(lab.crowded, job_id=f"second-{name}", **asked)
    same(shown(first), wanted, "first of two")
    same(shown(second), wanted, "warm from another slot")

    cut = random.Random(seed).randrange(1, MAX_TOKENS)
    rest = lab.far.run(job_id=f"moved-{name}", resume_token_ids=alone.ids[:cut], **asked)
    same(rest, alone.ids[cut:], f"resumed behind {cut} tokens in another process")


def test_the_proof_finds_falsehoods(second_model: Path, proofs: Path) -> None:
    """On the second architecture at least one shortcut is found to change bits."""
    options = EngineOptions(model_path=second_model, context=512, slots=SLOTS, state_dir=proofs)
    proved = prove(options)
    every = {"silent", "reuse", "copy", "restore", *(f"batch:{n}" for n in range(2, SLOTS + 1))}
    assert every - set(proved), "the proof found nothing wrong: can it find anything?"


def test_unproved_shortcuts_are_not_used(second_model: Path) -> None:
    """Strict right after the start, with nothing proved, is exact all the same."""
    options = EngineOptions(model_path=second_model, context=512, slots=SLOTS)
    with running(options) as engine:
        for seed in range(4):
            asked = case(seed, 0.0)
            wanted = shown(submit(engine, job_id=f"alone-{seed}", kv_hint="cold", **asked))
            others = strangers(engine, seed)
            crowd = submit(engine, job_id=f"crowd-{seed}", **asked)
            same(shown(crowd), wanted, "among strangers, unproved")
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
