"""What the official client makes of the answers: whole, streamed, failed."""

from __future__ import annotations

import asyncio
import json
import math

import httpx
import openai as package
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.testing.worker import FakeWorker, Faults, answer

ASK = [{"role": "user", "content": "hello bees"}]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "time")
]
FLAT_TOOLS = [{"type": "function", "name": name, "parameters": {}} for name in ("weather", "time")]


def set_limit(caller, limit: int) -> None:
    """Let so many tasks wait at most."""
    admission = caller.queen.admission
    admission.settings = admission.settings.model_copy(update={"queue_limit": limit})


def sound(model) -> None:
    """The official types take the answer when they are strict about it."""
    type(model).model_validate(model.model_dump(by_alias=True), strict=False)


async def test_reasoning_and_content_apart(openai, worker, script):
    """Thinking is `reasoning_content`, and its tokens are counted."""
    worker.script = script["thinking"]
    whole = await openai.chat.completions.create(model="demo", messages=ASK)
    assert isinstance(whole, ChatCompletion)
    sound(whole)
    message = whole.choices[0].message
    assert (message.content, message.reasoning_content) == ("Yes.", "Hm, bees.")
    assert whole.usage.completion_tokens_details.reasoning_tokens == 3
    assert whole.usage.prompt_tokens_details.cached_tokens == 2
    stream = await openai.chat.completions.create(model="demo", messages=ASK, stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    assert "".join(delta.content or "" for delta in deltas) == "Yes."
    thought = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    assert "".join(thought) == "Hm, bees."


async def test_parallel_tool_calls(openai, worker, script):
    """Two calls, their arguments in pieces; content beside them is kept."""
    worker.script = script["calling"]
    whole = await openai.chat.completions.create(model="demo", messages=ASK, tools=TOOLS)
    sound(whole)
    choice = whole.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls]
    expected = [("call_a", "weather", '{"city":"Bern"}'), ("call_b", "time", "{}")]
    assert calls == expected
    found: dict[int, list[str]] = {}
    stream = await openai.chat.completions.create(
        model="demo", messages=ASK, tools=TOOLS, stream=True
    )
    async for chunk in stream:
        assert isinstance(chunk, ChatCompletionChunk)
        sound(chunk)
        for part in chunk.choices[0].delta.tool_calls or ():
            call = found.setdefault(part.index, [part.id, part.function.name, ""])
            call[2] += part.function.arguments
    assert [tuple(call) for _, call in sorted(found.items())] == expected
    assert worker.seen.requests[-1].tool_choice.mode == "auto"


async def test_the_package_gathers_a_stream_of_tool_calls(openai, worker, script):
    """Its own accumulator comes to the same answer as a whole request."""
    worker.script = script["calling"]
    whole = await openai.chat.completions.create(model="demo", messages=ASK, tools=TOOLS)
    async with openai.chat.completions.stream(model="demo", messages=ASK, tools=TOOLS) as stream:
        gathered = await stream.get_final_completion()
    mine, theirs = whole.choices[0].message, gathered.choices[0].message
    assert theirs.content == mine.content
    assert [c.function.arguments for c in theirs.tool_calls] == [
        c.function.arguments for c in mine.tool_calls
    ]


async def test_logprobs(openai, worker, script):
    """The chosen token, its alternatives and their bytes, whole and streamed."""
    worker.script = script["logged"]
    asked = {"model": "demo", "messages": ASK, "logprobs": True, "top_logprobs": 2}
    whole = await openai.chat.completions.create(**asked)
    content = whole.choices[0].logprobs.content
    assert [entry.token for entry in content] == ["Hi", " you"]
    assert [other.token for other in content[0].top_logprobs] == ["Hi", "Ho"]
    assert bytes(content[1].bytes) == b" you"
    stream = await openai.chat.completions.create(**asked, stream=True)
    streamed = [
        entry
        async for chunk in stream
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert streamed == content
    assert worker.seen.requests[-1].sampling.logprobs == 2


async def test_logprobs_of_a_completion(openai, worker, script):
    """The older route has lists side by side, with offsets into the text."""
    worker.script = script["logged"]
    whole = await openai.completions.create(model="demo", prompt="x", logprobs=2)
    logs = whole.choices[0].logprobs
    assert whole.choices[0].text == "Hi you"
    assert logs.tokens == ["Hi", " you"]
    assert logs.text_offset == [0, 2]
    assert logs.top_logprobs == [{"Hi": -0.5, "Ho": -1.5}, {" you": -0.25}]
    stream = await openai.completions.create(model="demo", prompt="x", logprobs=2, stream=True)
    offsets = [
        offset
        async for chunk in stream
        if chunk.choices[0].logprobs
        for offset in chunk.choices[0].logprobs.text_offset
    ]
    assert offsets == [0, 2]


async def test_completions_of_several_prompts(openai, worker):
    """Prompt by prompt, choice by choice; echo puts the prompt before the text."""
    whole = await openai.completions.create(
        model="demo", prompt=["one", "two bees"], n=2, max_tokens=3, echo=True, best_of=2
    )
    sound(whole)
    texts = [choice.text for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    one, two = "one" + answer("one", 3), "two bees" + answer("two bees", 3)
    assert texts == [one, one, two, two]
    assert whole.usage.prompt_tokens == 1 + 2
    assert whole.usage.completion_tokens == 12
    stream = await openai.completions.create(
        model="demo",
        prompt=["one", "two bees"],
        max_tokens=3,
        echo=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    found = {0: "", 1: ""}
    async for chunk in stream:
        for choice in chunk.choices:
            found[choice.index] += choice.text
    assert found == {0: one, 1: two}
    assert chunk.usage.total_tokens == 3 + 6


async def test_embeddings_as_floats_and_bytes(openai, worker):
    """The package asks for base64 by itself; floats are the same numbers."""
    found = await openai.embeddings.create(model="demo", input=["a", "bcd"])
    assert [one.embedding for one in found.data] == [[1.0], [3.0]]
    plain = await openai.embeddings.create(model="demo", input="ab", encoding_format="float")
    assert plain.data[0].embedding == [2.0]
    assert plain.usage.prompt_tokens == 1
    raw = await openai.embeddings.with_raw_response.create(
        model="demo", input="ab", encoding_format="base64"
    )
    assert json.loads(raw.text)["data"][0]["embedding"] == "AAAAQA=="
    assert math.isclose(plain.data[0].embedding[0], 2.0)


async def test_a_response_in_items(openai, worker, script):
    """Thinking and message are items; the text is where the package looks for it."""
    worker.script = script["thinking"]
    whole = await openai.responses.create(model="demo", input="hello bees", metadata={"a": "b"})
    assert isinstance(whole, Response)
    sound(whole)
    assert whole.output_text == "Yes."
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.output[0].content[0].text == "Hm, bees."
    assert whole.status == "completed"
    assert whole.usage.output_tokens_details.reasoning_tokens == 3
    assert whole.metadata == {"a": "b"}


@pytest.mark.parametrize("kind", ["thinking", "calling", "logged"])
async def test_the_events_of_a_response(openai, worker, script, kind):
    """Numbered without a gap; each item is opened, grows and is closed; the last event is whole."""
    worker.script = script[kind]
    asked = {"model": "demo", "input": "hello bees", "tools": FLAT_TOOLS}
    asked |= {"include": ["message.output_text.logprobs"]} if kind == "logged" else {}
    whole = await openai.responses.create(**asked)
    stream = await openai.responses.create(**asked, stream=True)
    events = [event async for event in stream]
    for event in events:
        sound(event)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last.type == ("response.incomplete" if kind == "logged" else "response.completed")

    def bare(response):
        text = response.model_dump_json(exclude={"id", "created_at", "completed_at"})
        return text.replace(response.id.removeprefix("resp_"), "ID")

    assert bare(last.response) == bare(whole)
    added = [event for event in events if event.type == "response.output_item.added"]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.item.id for event in added] == [event.item.id for event in done]
    assert [event.item.model_dump() for event in done] == [
        item.model_dump() for item in last.response.output
    ]
    grown: dict[str, str] = {}
    for event in events:
        if event.type.endswith(".delta"):
            grown[event.item_id] = grown.get(event.item_id, "") + event.delta
    for item in last.response.output:
        text = item.arguments if item.type == "function_call" else item.content[0].text
        assert grown[item.id] == text


async def test_the_package_gathers_the_events_of_a_response(openai, worker, script):
    """Its own accumulator takes them."""
    worker.script = script["calling"]
    async with openai.responses.stream(
        model="demo", input="hello bees", tools=FLAT_TOOLS
    ) as stream:
        gathered = await stream.get_final_response()
    calls = [item for item in gathered.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("call_a", "weather", '{"city":"Bern"}'),
        ("call_b", "time", "{}"),
    ]


async def test_a_response_that_fails(openai, worker):
    """In mid-stream it is the event for it, with what had come; whole it is a status."""
    worker.faults = Faults(error_after=2)
    stream = await openai.responses.create(model="demo", input="hello bees", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"
    assert events[-1].response.output[0].content[0].text == answer("hello bees", 2)
    worker.faults = Faults(error_after=2)
    with pytest.raises(package.InternalServerError):
        await openai.responses.create(model="demo", input="hello bees")


async def test_errors_are_the_classes_that_callers_catch(openai, worker, caller):
    """Each refusal comes as the package's own exception, with code and param."""
    create = openai.chat.completions.create
    with pytest.raises(package.NotFoundError) as missing:
        await create(model="nobody-has-this", messages=ASK)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with pytest.raises(package.BadRequestError) as bad:
        await create(model="demo", messages=ASK, temperature=9)
    assert bad.value.param == "temperature"
    worker.faults = Faults(error_after=3)
    stream = await create(model="demo", messages=ASK, stream=True)
    with pytest.raises(package.APIError) as broken:
        async for _ in stream:
            pass
    assert broken.value.code == "server_error"
    set_limit(caller, 0)
    with pytest.raises(package.RateLimitError) as full:
        await create(model="demo", messages=ASK)
    assert full.value.code == "rate_limit_exceeded"
    assert int(full.value.response.headers["Retry-After"]) >= 1


async def test_the_package_tries_again_what_is_worth_it(worker, caller):
    """A full queue is asked again after Retry-After; a bug of the worker is not."""
    answered = []

    async def seen(reply):
        answered.append(reply.status_code)
        set_limit(caller, 256)

    set_limit(caller, 0)
    http = httpx.AsyncClient(event_hooks={"response": [seen]})
    base = f"{caller.http.base_url}/v1"
    async with package.AsyncOpenAI(base_url=base, api_key="x", http_client=http) as patient:
        create = patient.chat.completions.create
        said = await create(model="demo", messages=ASK, max_tokens=3)
        assert said.choices[0].message.content == answer("hello bees", 3)
        assert answered == [429, 200]
        worker.faults = Faults(error_after=0, times=3)
        with pytest.raises(package.InternalServerError):
            await create(model="demo", messages=ASK)
        assert answered == [429, 200, 500]


async def test_models_say_what_can_be_had(openai, worker, caller, hive):
    """Ready ones first; what only lies on a disk is on demand; retired ones are not listed."""
    await caller.http.post("/v2/catalog/models", json={"id": "other"})
    await caller.http.post("/v2/catalog/models", json={"id": "org/slashed"})
    await caller.http.post("/v2/catalog/models", json={"id": "old", "state": "Retired"})
    listed = [one async for one in openai.models.list()]
    assert [(one.id, one.status) for one in listed] == [
        ("demo", "ready"),
        ("org/slashed", "on_demand"),
        ("other", "on_demand"),
    ]
    assert (listed[0].object, listed[0].context, listed[0].on_disk) == ("model", 4096, True)
    assert (await openai.models.retrieve("org/slashed")).id == "org/slashed"
    with pytest.raises(package.NotFoundError):
        await openai.models.retrieve("nope")
    with pytest.raises(package.ConflictError):
        await openai.models.retrieve("old")


async def test_models_that_come_or_cannot(caller, hive):
    """With no host nothing can be had; a worker that loads is on its way."""
    await caller.http.post("/v2/catalog/models", json={"id": "other"})

    async def statuses():
        listed = (await caller.http.get("/v1/models")).json()["data"]
        return {one["id"]: one["status"] for one in listed}

    assert await statuses() == {"other": "unavailable"}
    await caller.register(hive)
    async with FakeWorker("w1") as loading:
        hive.say("worker", loading.info(WorkerState.LOADING).dump_json())
        await caller.until(lambda: "w1" in caller.queen.registry.workers)
        assert await statuses() == {"demo": "loading", "other": "on_demand"}


async def test_breaking_off_cancels(openai, worker, caller):
    """Who closes the stream frees the slot."""
    worker.gate = asyncio.Event()
    stream = await openai.chat.completions.create(model="demo", messages=ASK, stream=True)
    await stream.close()
    await caller.until(lambda: worker.seen.cancelled == 1)


async def test_the_queen_moves_a_stream_that_the_client_holds(openai, worker, caller, hive):
    """A worker that breaks in mid-stream: the official client sees one whole answer."""
    worker.faults = Faults(break_after=4)
    await hive.add(FakeWorker("w2"))
    await caller.until(lambda: "w2" in caller.queen.registry.workers)
    pin = {"placement": {"mode": "prefer", "worker_id": "w1"}}
    stream = await openai.chat.completions.create(
        model="demo", messages=ASK, stream=True, max_tokens=12, extra_body=pin
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == answer("hello bees", 12)
    assert worker.seen.executions == 1
