"""What /api says of each kind of answer, as Ollama's official client understands it."""

from __future__ import annotations

import asyncio
import json
import math

import ollama
import pytest

from rbee_agent.queen.api import call as calls
from rbee_agent.queen.api.ollama.options import seconds
from rbee_agent.testing.scripts import CALLING, LOGGED, THINKING
from rbee_agent.testing.worker import Faults, answer

BEES = [{"role": "user", "content": "hello bees"}]


async def test_a_chat(client, worker):
    """Text, why it ended, and the figures of the bill."""
    said = await client.chat("demo", BEES, options={"num_predict": 6})
    assert said.message.content == answer("hello bees", 6)
    assert (said.done, said.done_reason) == (True, "length")
    assert (said.prompt_eval_count, said.eval_count) == (2, 6)
    assert said.total_duration > 0


async def test_a_stream_is_lines(client, worker):
    """Pieces, then one last line that says done."""
    parts = [p async for p in await client.chat("demo", BEES, stream=True)]
    assert all(not part.done for part in parts[:-1])
    assert parts[-1].done
    whole = await client.chat("demo", BEES)
    assert "".join(part.message.content for part in parts) == whole.message.content


async def test_generate_is_a_conversation_of_one_turn(client, worker):
    """With its system prompt; raw is the text alone."""
    await client.generate("demo", "hello", system="Be brief.")
    await client.generate("demo", "hello", raw=True)
    told, raw = worker.seen.requests
    assert [(m.role, m.content) for m in told.messages] == [
        ("system", "Be brief."),
        ("user", "hello"),
    ]
    assert (raw.workload, raw.prompt, raw.messages) == ("completion", "hello", None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("think", "shown"), [(None, "Hm, bees."), (True, "Hm, bees."), (False, "")]
)
async def test_thinking(client, worker, stream, think, shown):
    """It stands beside the content, and can be left out."""
    worker.script = THINKING
    said = await whole(client, stream=stream, think=think)
    assert said == ("Yes.", shown, [])


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_come_whole(client, worker, stream):
    """Each with its arguments as an object."""
    worker.script = CALLING
    text, _, made = await whole(client, stream=stream)
    assert text == "Let me see."
    assert made == [("weather", {"city": "Bern"}), ("time", {})]


async def test_log_probabilities(client, worker):
    """Those asked for, in this API's words."""
    worker.script = LOGGED
    said = await client.chat("demo", BEES, logprobs=True, top_logprobs=2)
    assert [one.token for one in said.logprobs] == ["Hi", " you"]
    assert [one.token for one in said.logprobs[0].top_logprobs] == ["Hi", "Ho"]
    assert worker.seen.requests[-1].sampling.logprobs == 2


async def test_options_reach_the_worker(client, worker):
    """Under the names that a task has for them."""
    await client.chat(
        "demo",
        BEES,
        options={
            "temperature": 0.5,
            "top_k": 3,
            "top_p": 0.5,
            "min_p": 0.1,
            "typical_p": 0.9,
            "repeat_penalty": 1.1,
            "repeat_last_n": 32,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "seed": 7,
            "stop": "x",
            "num_predict": 4,
            "num_ctx": 4096,
            "mirostat": 0,
        },
        format={"type": "object"},
    )
    job = worker.seen.requests[-1]
    assert job.sampling.model_dump(exclude_unset=True, exclude={"ignore_eos"}) == {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repetition_penalty": 1.1,
        "penalty_last_n": 32,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "seed": 7,
    }
    assert (job.stop, job.max_tokens) == (["x"], 4)
    assert (job.response_format.type, job.response_format.json_schema) == (
        "json_schema",
        {"type": "object"},
    )


async def test_a_conversation_with_tools_reaches_the_worker(client, worker):
    """Calls and results as templates know them."""
    await client.chat(
        "demo",
        [
            *BEES,
            {
                "role": "assistant",
                "thinking": "Hm.",
                "tool_calls": [{"function": {"name": "weather", "arguments": {"c": "Bern"}}}],
            },
            {"role": "tool", "tool_name": "weather", "content": "14"},
        ],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {}}}],
        format="json",
    )
    job = worker.seen.requests[-1]
    call = {"name": "weather", "arguments": json.dumps({"c": "Bern"})}
    assert [message.dump() for message in job.messages][1:] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"type": "function", "function": call}],
        },
        {"role": "tool", "content": "14", "name": "weather"},
    ]
    assert job.tools[0]["function"]["name"] == "weather"
    assert job.response_format.type == "json_object"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("chat", {"options": {"num_gpu": 1}}, "options.num_gpu: is not supported"),
        ("chat", {"options": {"stop": ["a"] * 5}}, "options.stop"),
        ("chat", {"options": {"temperature": 3}}, "options.temperature"),
        ("chat", {"options": {"num_ctx": 9999}}, "options.num_ctx: demo has 4096"),
        ("chat", {"options": {"colour": 1}}, "options.colour: there is no such field"),
        ("chat", {"think": "much"}, "think"),
        ("chat", {"truncate": True}, "truncate"),
        ("chat", {"keep_alive": "soon"}, "keep_alive"),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": ["aa"]}]}, "see images"),
        ("generate", {"prompt": "x", "context": [1]}, "context"),
        ("generate", {"prompt": "x", "template": "{{.}}"}, "template"),
        ("generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("generate", {"prompt": "x", "raw": True, "system": "s"}, "system"),
        ("embed", {"input": "x", "dimensions": 3}, "dimensions"),
        ("embed", {"input": "x", "truncate": True}, "truncate"),
    ],
    ids=str,
)
async def test_what_cannot_be_done_is_refused_by_name(caller, worker, path, body, words):
    """400 with one sentence; nothing is ignored."""
    base = {"model": "demo"} | ({"messages": BEES} if path == "chat" else {})
    reply = await caller.http.post(f"/api/{path}", json=base | body)
    assert reply.status_code == 400, reply.text
    assert words in reply.json()["error"]
    assert worker.seen.executions == 0


async def test_an_unknown_model(client):
    """The client's own error, with its status."""
    with pytest.raises(ollama.ResponseError, match="no model of that name") as caught:
        await client.chat("nope", BEES)
    assert caught.value.status_code == 404


async def test_a_failure_in_mid_stream_is_raised(client, worker):
    """A line with an error."""
    worker.faults = Faults(error_after=3, error_code="INTERNAL")
    parts = []
    with pytest.raises(ollama.ResponseError):
        parts += [part async for part in await client.chat("demo", BEES, stream=True)]


async def test_while_nothing_comes_empty_pieces_do(client, worker, monkeypatch):
    """A caller who waits for a slot hears something, in the only words that this API has."""
    monkeypatch.setattr(calls, "HOLD_S", 0.01)
    monkeypatch.setattr(calls, "PING_INTERVAL_S", 0.02)
    worker.gate = asyncio.Event()
    quiet, text = 0, ""
    async for part in await client.chat("demo", BEES, stream=True, options={"num_predict": 3}):
        quiet += not part.message.content
        text += part.message.content
        if quiet == 3:
            worker.gate.set()
    assert text == answer("hello bees", 3)


async def test_an_empty_prompt_loads(caller, client, hive, worker):
    """No task is run to its end, and a worker is there afterwards; keep_alive says how long."""
    await caller.http.delete("/v2/workers/w1")
    said = await client.generate("demo", keep_alive="2h")
    assert (said.done_reason, said.response) == ("load", "")
    assert len(hive.spawns) == 1
    assert caller.queen.deployments.idle_limits == {"demo": 7200.0}
    (shown,) = (await client.ps()).models
    assert (shown.model, shown.context_length) == ("demo", 4096)


async def test_keep_alive_zero_unloads(caller, client, hive, worker):
    """What was loaded on demand goes as soon as nothing runs, and the next caller's word counts."""
    await caller.http.delete("/v2/workers/w1")
    await client.chat("demo", BEES)
    said = await client.chat("demo", [], keep_alive=0)
    assert said.done_reason == "unload"
    await caller.until(lambda: not caller.queen.registry.workers)
    assert caller.queen.deployments.idle_limits == {}


async def test_a_wished_for_model_stays(caller, client, worker):
    """keep_alive 0 does not stop what somebody wished for: it says who must."""
    made = await caller.http.post("/v2/workers", json={"model": "demo"})
    await caller.until(lambda: len(caller.queen.registry.workers) == 2)
    with pytest.raises(ollama.ResponseError, match="rbee worker stop") as caught:
        await client.generate("demo", keep_alive=0)
    assert made.json()["id"] in str(caught.value)
    await caller.http.delete(f"/v2/workers/{made.json()['id']}")


async def test_vectors(client, worker):
    """One for each input; the older route has one."""
    assert (await client.embed("demo", ["a", "bb"])).embeddings == [[1.0], [2.0]]
    assert (await client.embeddings("demo", "bb")).embedding == [2.0]


async def test_what_models_there_are(client, worker):
    """Names that can be asked for, with `:latest` behind them too; a template where one is told."""
    assert [model.model for model in (await client.list()).models] == ["demo"]
    assert (await client.chat("demo:latest", BEES)).model == "demo:latest"
    shown = await client.show("demo")
    assert shown.template
    assert shown.details.family
    assert "completion" in shown.capabilities


@pytest.mark.parametrize("call", ["pull", "push", "create", "delete", "copy"])
async def test_model_files_are_the_catalogs(client, call):
    """What is not served says which command does it."""
    words = ("demo", "other") if call == "copy" else ("demo",)
    with pytest.raises(ollama.ResponseError, match=r"rbee|not published"):
        await getattr(client, call)(*words)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (90, 90.0),
        ("90", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        (-1, math.inf),
        ("-1m", math.inf),
        (0, 0.0),
    ],
)
def test_durations(said, meant):
    """As Go writes them, or seconds; a negative one is for ever."""
    assert seconds(said) == meant


@pytest.mark.parametrize("text", ["", "soon", "5 m", "m5", "1x"])
def test_what_is_no_duration(text):
    """Is refused."""
    with pytest.raises(ValueError, match="5m or 1h30m"):
        seconds(text)


async def whole(client, *, stream, **more):
    """Text, thinking and calls of an answer, however it came."""
    found = await client.chat("demo", BEES, stream=stream, **more)
    parts = [part async for part in found] if stream else [found]
    made = [call.function for part in parts for call in part.message.tool_calls or ()]
    return (
        "".join(part.message.content or "" for part in parts),
        "".join(part.message.thinking or "" for part in parts),
        [(call.name, dict(call.arguments)) for call in made],
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_command_finds_somebody(caller, method):
    """`ollama` asks the bare address before anything else, without a key."""
    reply = await caller.http.request(method, "/")
    assert reply.status_code == 200
    assert reply.text == "" if method == "HEAD" else "rbee" in reply.text
