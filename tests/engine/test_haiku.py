"""The haiku test: an answer that only a real decode can give."""

from __future__ import annotations

import datetime

import pytest

from rbee_agent.engine import Engine
from tests.engine_harness import Run, submit
from tests.haiku import question, spelled

pytestmark = pytest.mark.model


def haiku(small: Engine, minute: str, job_id: str) -> Run:
    """A haiku about that minute."""
    return submit(
        small, job_id=job_id, prompt=question(minute), max_tokens=32, strict=True,
        sampling={"temperature": 0.0, "seed": 1, "logprobs": 0},
    ).wait()  # fmt: skip


def test_the_minute_of_the_clock_is_in_the_haiku(small: Engine) -> None:
    """The word is known only now; ids, timings and counters say that it was computed."""
    minute = spelled(datetime.datetime.now(tz=datetime.UTC).minute)
    before, inside = small.stats(), small._ready().inside_s

    run = haiku(small, minute, "haiku")

    after = small.stats()
    end = run.finished
    assert end is not None
    assert minute in run.text.lower()
    # The text is what the ids decode to, and each id was chosen in a step of its own.
    assert run.text == small.detokenize(run.ids)[: len(run.text)]
    assert len(run.ids) == end.tokens_out == len(run.logprobs)
    assert after.tokens_out_total - before.tokens_out_total == end.tokens_out
    assert after.step - before.step >= end.tokens_out
    assert small._ready().inside_s > inside
    assert end.first_token_ms is not None
    assert end.first_token_ms > 0
    assert end.decode_time_ms > 0
    # No stored answer: another word makes another text, from other prompt tokens.
    other = haiku(small, "ninety-nine", "other")
    assert other.ids != run.ids


@pytest.mark.parametrize("minute", [0, 13, 20, 42, 59])
def test_minutes_are_spelled_out(minute: int) -> None:
    """No digit: the model must read words."""
    assert not any(letter.isdigit() for letter in spelled(minute))
