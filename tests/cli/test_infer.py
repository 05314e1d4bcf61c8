"""``rbee infer``: tokens to stdout, the rest to stderr, exit codes as documented."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from rbee_agent.errors import NotFound, RbeeError
from rbee_agent.testing.scripted_queen import ScriptedQueen

Rbee = Callable[..., Awaitable[Any]]
ASK = ("infer", "-m", "m", "-p", "Say something.")


async def test_the_answer_and_nothing_else_is_on_stdout(
    scripted: ScriptedQueen, rbee: Rbee
) -> None:
    """Stdout holds exactly what the model said, and a line end."""
    done = await rbee(*ASK)

    assert (done.code, done.out, done.err) == (0, "".join(scripted.words) + "\n", "")


async def test_each_token_is_shown_before_the_next_is_made(scripted: ScriptedQueen) -> None:
    """Tokens are flushed one by one: the first is out while the queen still holds the second."""
    scripted.hold_at = 1
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rbee_tui", *ASK),
        stdout=asyncio.subprocess.PIPE,
        env={**buffered, "RBEE_QUEEN_URL": scripted.url},
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        first = await process.stdout.read(100)
        scripted.release.set()
        rest = await process.stdout.read()
        await process.wait()

    assert first == scripted.words[0].encode()
    assert (first + rest).decode() == "".join(scripted.words) + "\n"


async def test_json_is_one_document(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """`--json` prints one document with text, usage, timings and the reason for the end."""
    done = await rbee(*ASK, "--json")

    document = done.document()
    assert set(document) == {
        *("job_id", "model", "worker_id", "text", "usage", "timings", "finish_reason", "resumed")
    }
    assert document["text"] == "".join(scripted.words)
    assert document["usage"] == {"tokens_in": 5, "tokens_out": 4, "tokens_cached": 0}
    assert document["job_id"] in scripted.tasks


async def test_the_request_says_what_the_flags_say(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """Flags become fields; what was not given is not sent."""
    flags = ("--max-tokens", "7", "--temperature", "0", "--seed", "3", "--stop", "END")
    await rbee(*ASK, *flags, "--system", "Be brief.")

    (body,) = scripted.tasks.values()
    body.pop("task_id")
    assert body == {
        "model": "m",
        "workload": "chat",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say something."},
        ],
        "max_tokens": 7,
        "temperature": 0.0,
        "seed": 3,
        "stop": ["END"],
    }


async def test_raw_sends_the_bare_prompt(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """`--raw` leaves the chat template out."""
    await rbee(*ASK, "--raw")

    (body,) = scripted.tasks.values()
    assert body["prompt"] == "Say something."
    assert "messages" not in body


async def test_a_dash_reads_the_prompt_from_stdin(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """`-p -` takes the prompt from a pipe."""
    await rbee("infer", "-m", "m", "-p", "-", "--raw", stdin="from a pipe")

    (body,) = scripted.tasks.values()
    assert body["prompt"] == "from a pipe"


async def test_ctrl_c_cancels_on_the_queen_then_exits_130(
    scripted: ScriptedQueen, rbee: Rbee
) -> None:
    """Ctrl-C in mid-stream: the task is cancelled before the process is gone, exit 130."""
    scripted.hold_at = 2
    done = await rbee(*ASK, interrupt_after="One two")

    assert done.code == 130
    assert scripted.cancelled == set(scripted.tasks)
    assert done.out == "One two\n"


async def test_a_broken_connection_is_mended_silently(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """Cuts in the stream leave the bytes on stdout as they would have been."""
    scripted.cuts.extend([0, 2])
    done = await rbee(*ASK)

    assert (done.code, done.out) == (0, "".join(scripted.words) + "\n")


async def test_an_error_in_the_stream_is_the_exit_code(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """What had come stays on stdout, the sentence goes to stderr, the code decides the exit."""
    scripted.ends_with = RbeeError("12 tokens, 8 fit", code="CONTEXT_LENGTH_EXCEEDED")
    done = await rbee(*ASK)

    assert done.code == 7
    assert done.out == "".join(scripted.words) + "\n"
    assert "12 tokens, 8 fit" in done.err


async def test_an_unknown_model_names_the_nearest(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """Exit 3, with the nearest names and the command that gets a model."""
    scripted.models = [{"id": "smollm2-135m"}, {"id": "qwen-7b"}]
    scripted.refusals.append(NotFound("no model smolm2", code="MODEL_NOT_FOUND"))
    done = await rbee("infer", "-m", "smolm2", "-p", "x")

    assert done.code == 3
    assert "nearest: smollm2-135m" in done.err
    assert "rbee model pull smollm2-135m" in done.err


async def test_a_pin_names_the_worker(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """`--worker` takes an id or host:port and becomes a pin; an unknown one is refused."""
    scripted.workers = [
        {"id": "w-1", "model": "m", "state": "ready", "url": "http://127.0.0.1:8001"}
    ]
    for name in ("w-1", "127.0.0.1:8001"):
        assert (await rbee(*ASK, "--worker", name)).code == 0
    unknown = await rbee(*ASK, "--worker", "w-9")

    assert all(
        task["placement"]["worker_id"] == "w-1" and task["placement"]["mode"] == "pin"
        for task in scripted.tasks.values()
    )
    assert unknown.code == 3
    assert "w-1" in unknown.err


async def test_a_value_out_of_range_is_a_usage_error(rbee: Rbee) -> None:
    """Five stop strings are refused before anything is sent, exit 2."""
    stops = [word for index in range(5) for word in ("--stop", f"s{index}")]

    assert (await rbee(*ASK, *stops)).code == 2
    assert (await rbee(*ASK, "--temperature", "3")).code == 2


async def test_no_queen_says_rbee_up(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """Where nobody answers the exit code is 5 at once, and the message names the remedy."""
    await scripted.stop()
    async with asyncio.timeout(10):
        done = await rbee(*ASK)

    assert done.code == 5
    assert "rbee up" in done.err
    assert done.out == ""


async def test_the_time_limit_is_exit_6(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """`--timeout` ends the wait, cancels the task, exit 6."""
    scripted.hold_at = 1
    done = await rbee(*ASK, "--timeout", "1")

    assert done.code == 6
    assert scripted.cancelled == set(scripted.tasks)
