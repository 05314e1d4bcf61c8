"""One job from start to end in a real engine: stops, limits, cancels, resuming, what is refused."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine import Engine
from rbee_agent.errors import RbeeError
from tests.engine.conftest import CONTEXT, SLOTS
from tests.engine_harness import Run, submit

pytestmark = pytest.mark.model

GREEDY: dict[str, Any] = {"temperature": 0.0, "seed": 1, "ignore_eos": True}
STORY = "Once upon a time there was"


def settled(small: Engine) -> None:
    """Until nobody holds a slot."""
    assert small.drain(30)


def test_a_stop_string_over_tokens_is_never_shown_in_part(small: Engine) -> None:
    """The answer ends before it, whatever tokens it is made of, and no piece of it was sent."""
    whole = submit(small, job_id="w", prompt=STORY, max_tokens=24, sampling=GREEDY).wait()
    stop = whole.text[12:19]
    assert len(whole.texts) > 3

    run = submit(
        small, job_id="s", prompt=STORY, max_tokens=24, sampling=GREEDY, stop=[stop]
    ).wait()

    assert run.text == whole.text[: whole.text.index(stop)]
    assert run.finished is not None
    assert run.finished.finish_reason == "stop"


def test_the_context_is_the_limit_where_none_is_given(small: Engine) -> None:
    """Prompt and answer fill the context to its last token, and no further."""
    prompt = "word " * (CONTEXT - 20)

    run = submit(small, job_id="l", prompt=prompt, sampling=GREEDY).wait()

    assert run.tokens_in + len(run.ids) == CONTEXT
    assert run.finished is not None
    assert run.finished.finish_reason == "length"


def test_strict_reaches_the_last_cell_too(small: Engine) -> None:
    """The second row that a strict one takes along beyond 256 cells has room as well."""
    run = submit(
        small, job_id="l", prompt="word " * (CONTEXT - 20), sampling=GREEDY, strict=True
    ).wait()

    assert run.tokens_in + len(run.ids) == CONTEXT


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(small: Engine) -> None:
    """Nothing is cut."""
    with pytest.raises(RbeeError) as caught:
        submit(small, job_id="x", prompt="word " * 400)

    assert caught.value.code == "CONTEXT_LENGTH_EXCEEDED"
    assert caught.value.details is not None
    assert caught.value.details["context"] == CONTEXT
    assert caught.value.details["tokens"] > 400


def test_a_resumed_answer_goes_on_behind_the_known_ids(small: Engine) -> None:
    """Strict and best effort, at any cut, greedy and sampled; with stop strings over the cut."""
    for strict in (True, False):
        for temperature in (0.0, 0.8):
            said = {
                "prompt": STORY, "max_tokens": 20, "strict": strict,
                "sampling": {**GREEDY, "temperature": temperature},
            }  # fmt: skip
            whole = submit(small, job_id="whole", **said).wait()
            for cut in (1, 2, 7, 19):
                rest = submit(small, job_id="r", resume_token_ids=whole.ids[:cut], **said).wait()
                if strict:
                    assert rest.ids == whole.ids[cut:]
                assert len(rest.ids) == 20 - cut
                assert rest.finished is not None
                assert rest.finished.tokens_out == 20


def test_a_stop_string_is_found_over_the_cut_of_a_resumed_answer(small: Engine) -> None:
    """Wherever a stream with a stop string is cut between frames, both parts make the same text."""
    said: dict[str, Any] = {"prompt": STORY, "max_tokens": 20, "strict": True, "sampling": GREEDY}
    free = submit(small, job_id="free", **said).wait()
    pieces = [small.piece(token).decode() for token in free.ids]
    said["stop"] = [pieces[5][-1] + pieces[6], pieces[3][-1] + "#"]
    cuts: list[tuple[int, str]] = []
    whole = submit(small, job_id="w", **said).wait()
    for count in range(1, len(whole.texts)):
        shown = "".join(whole.texts[:count])
        ids = next(n for n in range(21) if "".join(pieces[:n]) == shown)
        cuts.append((ids, shown))

    assert len(cuts) > 2
    for ids, shown in cuts:
        rest = submit(small, job_id="r", resume_token_ids=whole.ids[:ids], **said).wait()
        assert shown + rest.text == whole.text


def test_known_ids_that_break_the_grammar_end_the_job_alone(small: Engine) -> None:
    """The engine lives on."""
    run = submit(
        small, job_id="r", prompt="x", grammar='root ::= "yes"', strict=True,
        resume_token_ids=[500, 501],
    ).settle()  # fmt: skip

    assert run.failed is not None
    assert run.failed.code == "INVALID_PARAMS"
    assert submit(small, job_id="n", prompt="x", max_tokens=1).wait().ids


def test_cancel_in_decode_frees_the_slot(small: Engine) -> None:
    """From another thread, in mid-stream; nothing comes behind the end."""
    first = threading.Event()
    run = submit(small, job_id="c", prompt=STORY, sampling=GREEDY, on_token=lambda _: first.set())
    assert first.wait(30)
    small.cancel("c")

    assert run.settle().failed is not None
    assert run.failed is not None
    assert run.failed.code == "CANCELLED"
    settled(small)
    assert small.stats().slots_busy == 0


def test_cancel_breaks_off_a_prefill(small: Engine) -> None:
    """In the middle of a prompt's call; the cells before it still serve."""
    scheduler = small._ready()
    context, decode_run = scheduler._context, scheduler._context.decode_run
    entered = threading.Event()
    ended: list[str] = []

    def watched(seq: int, tokens: Any, start: int, *, logits: bool) -> None:
        if start >= 64 and not entered.is_set():
            # As if the cancel came in the middle: llama.cpp asks before its first node.
            entered.set()
            assert small.cancel("p")
        try:
            decode_run(seq, tokens, start, logits=logits)
        except RbeeError as error:
            ended.append(error.code)
            raise

    context.decode_run = watched  # type: ignore[method-assign]
    try:
        run = submit(small, job_id="p", prompt="tree " * 200, kv_hint="cold").settle()
    finally:
        context.decode_run = decode_run  # type: ignore[method-assign]

    assert run.failed is not None
    assert run.failed.code == "CANCELLED"
    assert ended == ["CANCELLED"], "the call itself was broken off"
    again = submit(small, job_id="q", prompt="tree " * 200, max_tokens=1).wait()
    assert again.finished is not None
    assert again.finished.tokens_cached == 64


def test_a_queued_job_can_be_cancelled(small: Engine) -> None:
    """It has no slot yet, and never gets one."""
    running = [submit(small, job_id=f"r{n}", prompt=STORY, sampling=GREEDY) for n in range(SLOTS)]
    waiting = submit(small, job_id="late", prompt=STORY, sampling=GREEDY)
    small.cancel("late")
    failed = waiting.settle().failed
    for n in range(SLOTS):
        small.cancel(f"r{n}")
    for run in running:
        run.settle()

    assert failed is not None
    assert failed.code == "CANCELLED"
    assert waiting.ids == []


def test_a_deadline_ends_a_job_wherever_it_is(small: Engine) -> None:
    """Also one that was over when it came."""
    run = submit(small, job_id="d", prompt=STORY, sampling=GREEDY, deadline_ms=0).settle()

    assert run.failed is not None
    assert run.failed.code == "DEADLINE_EXCEEDED"


def test_who_asks_again_takes_over(small: Engine) -> None:
    """The same id twice: the first stream is given up for the second."""
    first = submit(small, job_id="same", prompt=STORY, sampling=GREEDY)
    second = submit(small, job_id="same", prompt=STORY, max_tokens=4, sampling=GREEDY)

    assert len(second.wait().ids) == 4
    assert first.settle().failed is not None


def test_a_fault_in_one_job_ends_that_job_alone(small: Engine) -> None:
    """A sink that raises is a bug of ours: its job fails, the others go on."""

    class Broken(Run):
        def token(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError

    broken = Broken()
    good = submit(small, job_id="good", prompt=STORY, max_tokens=30, sampling=GREEDY)
    small.submit(ExecuteRequest(job_id="bad", prompt="Hello", max_tokens=5), broken)

    assert broken.settle().failed is not None
    assert broken.failed is not None
    assert broken.failed.code == "INTERNAL"
    # They may have shared a call; whoever did not, ends well.
    good.settle()
    assert submit(small, job_id="n", prompt="x", max_tokens=1).wait().ids


def test_timings_say_where_the_time_went(small: Engine) -> None:
    """Queue, prefill and first token are told, in this order."""
    began = time.monotonic()
    end = submit(small, job_id="t", prompt=STORY, max_tokens=4, sampling=GREEDY).wait().finished
    whole_ms = (time.monotonic() - began) * 1000 + 1

    assert end is not None
    assert end.queue_time_ms is not None
    assert end.prefill_time_ms is not None
    assert end.first_token_ms is not None
    assert 0 <= end.queue_time_ms <= end.first_token_ms <= whole_ms
    assert end.prefill_time_ms <= whole_ms


def test_prompts_that_come_together_read_their_beginning_once(small: Engine) -> None:
    """`n` answers to one question cost one reading of it."""
    prompt = "The rain in Spain stays mainly in the plain. " * 16
    gate = threading.Event()
    submit(small, job_id="gate", prompt="x", max_tokens=1, on_token=lambda _: gate.wait(10))
    runs = [
        submit(small, job_id=f"n{n}", prompt=prompt, max_tokens=2, sampling={"seed": n})
        for n in range(2)
    ]
    gate.set()
    cached = sorted(run.wait().finished.tokens_cached for run in runs)  # type: ignore[union-attr]

    assert cached[1] >= runs[0].tokens_in - 64


def test_decoding_embedders_are_refused(small: Engine) -> None:
    """The demo model pools nothing: no work is done for a vector that it cannot give."""
    steps = small.stats().step
    for workload, more in (("embedding", {}), ("rerank", {"query": "q"})):
        with pytest.raises(RbeeError, match="no embeddings"):
            submit(small, job_id="e", workload=workload, inputs=["x"], **more)

    assert small.stats().step == steps
