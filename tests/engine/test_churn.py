"""Random requests with cancels, stops and vanished readers leave everything where it was."""

from __future__ import annotations

import gc
import os
import random
import time
from typing import Any

import llama_cpp
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rbee_agent.engine import Engine
from rbee_agent.engine.job import Job
from rbee_agent.engine.sampling import Sampler
from tests.engine.conftest import CONTEXT, SLOTS
from tests.engine_harness import Run, submit

pytestmark = [pytest.mark.model, pytest.mark.timeout(14_400)]

LONG = "RBEE_LONG" in os.environ
CROWD = 10
CROWDS = 1000 if LONG else 12
LONGEST = 256 if LONG else 24
GROWTH = 48 * 1024**2
"""Bytes that malloc's own slack may grow by after the first crowds."""
_WORDS = ("the", "a", "sun", "sea", "and", "of", "tree", "bird", "wind", "to", "house", "old")

requests = st.fixed_dictionaries(
    {
        "words": st.integers(1, 90),
        "same": st.booleans(),
        "tokens": st.integers(1, LONGEST),
        "strict": st.booleans(),
        "cold": st.booleans(),
        "temperature": st.sampled_from([0.0, 0.9]),
        "more": st.sampled_from(
            [{}, {"stop": ["e", "zq"]}, {"grammar": 'root ::= [a-z ]+'},
             {"resume_token_ids": [400, 401, 402]}, {"deadline_ms": 40},
             {"sampling": {"logprobs": 2, "repetition_penalty": 1.2}}]
        ),
        "end": st.sampled_from(["itself", "itself", "at once", "after some", "reader gone"]),
        "after": st.integers(1, 12),
    }
)  # fmt: skip


def start(small: Engine, number: int, said: dict[str, Any]) -> Run:
    """Submit one request, and see to it that it ends as it should."""
    job = f"job-{number}"
    rng = random.Random(1 if said["same"] else number)
    more = dict(said["more"])
    sampling = {
        "temperature": said["temperature"], "seed": number, "ignore_eos": True,
        **more.pop("sampling", {}),
    }  # fmt: skip

    def watch(count: int) -> None:
        if said["end"] == "reader gone" and count >= said["after"]:
            small.cancel(job)

    run = submit(
        small,
        job_id=job,
        prompt=" ".join(rng.choices(_WORDS, k=said["words"])),
        max_tokens=said["tokens"],
        strict=said["strict"],
        kv_hint="cold" if said["cold"] else "reuse",
        sampling=sampling,
        on_token=watch,
        **more,
    )
    if said["end"] == "at once":
        small.cancel(job)
    return run


def living() -> int:
    """Jobs and samplers that somebody still holds."""
    gc.collect()
    return sum(isinstance(one, (Job, Sampler)) for one in gc.get_objects())


def check_nothing_is_held(small: Engine, before: int) -> None:
    """Slots free, books and cells agree, and no job or sampler is left in memory."""
    assert small.drain(60)
    stats = small.stats()
    assert (stats.slots_busy, stats.queued) == (0, 0)
    scheduler, cache = small._ready(), small._cache
    assert scheduler._by_id == {}
    memory = llama_cpp.llama_get_memory(scheduler._context.handle)
    for slot in cache.slots:
        assert not slot.busy
        held = llama_cpp.llama_memory_seq_pos_max(memory, slot.seq) + 1
        assert held == len(slot.tokens) <= CONTEXT
        assert 0 <= slot.exact <= len(slot.tokens)
    assert cache._host._size <= small.options.host_cache_bytes
    # The engine's thread may still be on its way out of the step that ended the last one.
    until = time.monotonic() + 10
    while living() > before:
        assert time.monotonic() < until, "a job or a sampler is still held"


def test_everything_is_given_back(small: Engine) -> None:
    """Crowds of ten for three slots: each request ends once, and nothing stays behind."""
    process = psutil.Process()
    numbers = iter(range(10**9))
    sizes: list[int] = []
    before = living()

    @settings(
        max_examples=CROWDS, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(requests, min_size=CROWD, max_size=CROWD))
    def crowd(every: list[dict[str, Any]]) -> None:
        runs = [(said, number, start(small, number, said))
                for said, number in zip(every, numbers, strict=False)]  # fmt: skip
        for said, number, _ in runs:
            if said["end"] == "after some":
                small.cancel(f"job-{number}")
        for said, _, run in runs:
            run.settle()
            assert run.endings == 1
            if run.failed is not None:
                assert run.failed.code in ("CANCELLED", "DEADLINE_EXCEEDED", "INVALID_PARAMS")
            else:
                assert run.finished is not None
                assert run.finished.tokens_out <= said["tokens"]
        del runs, run
        check_nothing_is_held(small, before)
        sizes.append(process.memory_info().rss)

    crowd()

    first = max(sizes[: max(2, len(sizes) // 5)])
    assert sizes[-1] - first < GROWTH
    # One more job finds a working small, and the cells can all be given back.
    assert submit(small, job_id="after", prompt="Hello", max_tokens=2).wait().finished
    assert small.drain(30)
    small._cache.forget_all()
    assert small.stats().kv_usage == 0
    assert len(small._cache.slots) == SLOTS
