"""The official `openai` package, unmodified, against real daemons and the demo model."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Literal

import httpx
import openai as package
import pytest
from pydantic import BaseModel, Field

from rbee_agent.testing.live_fleet import MODEL
from rbee_agent.wire.sse import SseDecoder
from tests.clients.conftest import POOLED

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "Name three colours."}]
EXACT = {"temperature": 0, "seed": 1}
BEE, PARIS = "11426", "7042"
"""Token ids of the demo model: " bee", " Paris"."""
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Bern", "Paris"]}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
CLOCK = {"name": "tell_time", "parameters": {"type": "object", "additionalProperties": False}}
TOOLS = [{"type": "function", "function": one} for one in (WEATHER, CLOCK)]
FLAT_TOOLS = [{"type": "function", **one} for one in (WEATHER, CLOCK)]
WET = [{"role": "user", "content": "What is the weather in Paris?"}]


async def text_of(stream) -> str:
    """All text of a chat stream."""
    parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    return "".join(parts)


async def v2_text(queen_url: str, **body) -> str:
    """The text that a task of /v2 gives."""
    async with httpx.AsyncClient(base_url=queen_url, timeout=60) as http:
        accepted = (await http.post("/v2/tasks", json={"model": MODEL, **body})).json()
        reply = await http.get(accepted["streams"]["sse"])
    frames = [json.loads(event.data) for event in SseDecoder().feed(reply.content)]
    tokens = [t for f in frames if f["type"] == "token" for t in f.get("batch", [f])]
    return "".join(token["t"] for token in tokens)


async def test_chat_whole_and_streamed(openai):
    """An answer, its bill, and the same text in pieces."""
    asked = {"model": MODEL, "messages": ASK, "max_tokens": 24, **EXACT}
    whole = await openai.chat.completions.create(**asked)
    text = whole.choices[0].message.content
    assert len(text.split()) >= 3
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert 1 <= whole.usage.completion_tokens <= 24
    assert whole.usage.prompt_tokens > len(ASK[0]["content"].split())
    stream = await openai.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == text
    assert len(chunks) > 4, "it comes in pieces"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


async def test_the_same_raw_text_on_both_routes(openai, queen_url):
    """And raw prompts go on in the same way."""
    asked = {"prompt": "Once upon a time", "max_tokens": 16, **EXACT}
    expected = await v2_text(queen_url, **asked)
    found = await openai.completions.create(model=MODEL, **asked)
    assert found.choices[0].text == expected


async def test_seeds_and_choices(openai):
    """A seed gives the same choices again, and the choices of one request differ."""
    asked = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 16}
    asked |= {"n": 3, "seed": 11, "temperature": 1.2}
    first = await openai.completions.create(**asked)
    second = await openai.completions.create(**asked)
    texts = [choice.text for choice in first.choices]
    assert [choice.text for choice in second.choices] == texts
    assert len(set(texts)) == 3


async def test_stop_ends_before_its_text(openai):
    """The stop text is not part of the answer, also when it is streamed."""
    asked = {"model": MODEL, "prompt": "One, two, three,", "max_tokens": 40, **EXACT}
    free = (await openai.completions.create(**asked)).choices[0].text
    stop = free.split()[3]
    found = (await openai.completions.create(**asked, stop=[stop])).choices[0]
    assert found.finish_reason == "stop"
    assert found.text == free[: free.index(stop)]
    stream = await openai.completions.create(**asked, stop=stop, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == found.text


async def test_logprobs_are_probabilities(openai):
    """At temperature 0 the chosen token is the likeliest, and the alternatives add up to 1."""
    asked = {"model": MODEL, "messages": ASK, "max_tokens": 6, **EXACT}
    found = await openai.chat.completions.create(**asked, logprobs=True, top_logprobs=5)
    entries = found.choices[0].logprobs.content
    assert len(entries) == found.usage.completion_tokens
    for entry in entries:
        best = entry.top_logprobs
        assert [one.logprob for one in best] == sorted((b.logprob for b in best), reverse=True)
        assert entry.token == best[0].token
        assert sum(math.exp(one.logprob) for one in best) <= 1 + 1e-5
    shown = b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace")
    assert shown.startswith(found.choices[0].message.content)


async def test_logit_bias_moves_the_choice(openai):
    """A token that is banned does not come, and one that is pushed comes."""
    asked = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 1, **EXACT}
    free = (await openai.completions.create(**asked)).choices[0].text
    pushed = await openai.completions.create(**asked, logit_bias={BEE: 100})
    assert pushed.choices[0].text == " bee"
    both = await openai.completions.create(**asked, logit_bias={BEE: 100, PARIS: -100})
    banned = await openai.completions.create(**asked, logit_bias={PARIS: -100})
    assert both.choices[0].text == " bee"
    assert free == " Paris"
    assert banned.choices[0].text != free


class Colour(BaseModel):
    """What the answer must be."""

    name: Literal["red", "green", "blue"]
    shades: list[Literal["light", "dark"]] = Field(max_length=2)


async def test_a_schema_always_validates(openai):
    """The package's own parser takes what a small model says, because a grammar holds it."""
    for seed in range(3):
        found = await openai.chat.completions.parse(
            model=MODEL,
            messages=ASK,
            response_format=Colour,
            max_tokens=64,
            temperature=1.0,
            seed=seed,
        )
        assert found.choices[0].finish_reason == "stop"
        assert isinstance(found.choices[0].message.parsed, Colour)
    response = await openai.responses.parse(
        model=MODEL, input="Name a colour.", text_format=Colour, max_output_tokens=64
    )
    assert isinstance(response.output_parsed, Colour)


async def test_a_schema_that_cannot_be_enforced_is_refused(openai):
    """400 with the keyword's name, streamed or not."""
    schema = {"type": "object", "properties": {"a": {"$dynamicRef": "#b"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    for stream in (False, True):
        with pytest.raises(package.BadRequestError, match="dynamicRef"):
            await openai.chat.completions.create(
                model=MODEL, messages=ASK, response_format=form, stream=stream
            )


async def test_json_object(openai):
    """Any object, but an object."""
    found = await openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a bee in JSON."}],
        response_format={"type": "json_object"},
        max_tokens=48,
        temperature=0,
    )
    text = found.choices[0].message.content
    assert text.lstrip().startswith("{")
    if found.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def called(function) -> dict:
    """The arguments of a call, which must be the tool's."""
    arguments = json.loads(function.arguments)
    if function.name == "tell_time":
        assert arguments == {}
    else:
        assert function.name == "get_weather"
        assert arguments["city"] in ("Bern", "Paris")
        assert arguments["unit"] in ("C", "F")
    return arguments


@pytest.mark.parametrize("seed", range(2))
async def test_a_call_that_must_be_made(openai, seed):
    """`required`: at least one call, of the offered tools, whatever is sampled."""
    found = await openai.chat.completions.create(
        model=MODEL,
        messages=WET,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=1.0,
        seed=seed,
        max_tokens=150,
    )
    choice = found.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    called(call.function)


async def test_a_named_call_whole_streamed_and_in_items(openai):
    """The tool that was named, with the same arguments in each way; then its result is read."""
    named = {"type": "function", "function": {"name": "get_weather"}}
    asked = {"model": MODEL, "messages": WET, "tools": TOOLS, "tool_choice": named, **EXACT}
    whole = await openai.chat.completions.create(**asked, max_tokens=150)
    (call,) = whole.choices[0].message.tool_calls
    arguments = called(call.function)
    stream = await openai.chat.completions.create(**asked, max_tokens=150, stream=True)
    parts = [
        part
        async for chunk in stream
        for choice in chunk.choices
        for part in choice.delta.tool_calls or ()
    ]
    assert [part.function.name for part in parts if part.function.name] == ["get_weather"]
    assert len(parts) > 2, "the arguments come in pieces"
    assert json.loads("".join(part.function.arguments or "" for part in parts)) == arguments
    response = await openai.responses.create(
        model=MODEL,
        input=WET[0]["content"],
        tools=FLAT_TOOLS,
        tool_choice={"type": "function", "name": "get_weather"},
        temperature=0,
        max_output_tokens=150,
        extra_body={"seed": 1},
    )
    (item,) = response.output
    assert (item.type, called(item)) == ("function_call", arguments)
    said = whole.choices[0].message.model_dump()
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    again = await openai.chat.completions.create(
        model=MODEL, messages=[*WET, said, result], tools=TOOLS, tool_choice="none", max_tokens=8
    )
    assert again.choices[0].message.tool_calls is None
    assert again.choices[0].message.content


async def test_embeddings_of_an_encoder(openai, encoder):
    """Started when it is first asked for; unit vectors; the same text has the same vector."""
    found = await openai.embeddings.create(model=encoder, input=["a bee", "a tree", "a bee"])
    one, other, again = (entry.embedding for entry in found.data)
    assert len(one) == 64
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-3)
    assert one == again
    assert one != other
    single = await openai.embeddings.create(model=encoder, input="a tree", encoding_format="float")
    assert single.data[0].embedding == pytest.approx(other, abs=1e-6)
    assert found.usage.prompt_tokens == found.usage.total_tokens > 6


async def test_embeddings_that_cannot_be_had(openai, encoder):
    """A model with no pooling and a text that is too long are 400 with their reasons."""
    with pytest.raises(package.BadRequestError, match="pooling"):
        await openai.embeddings.create(model=MODEL, input="a bee")
    with pytest.raises(package.BadRequestError) as long:
        await openai.embeddings.create(model=encoder, input="x" * 1000)
    assert long.value.code == "context_length_exceeded"


async def test_an_encoder_writes_no_text(openai, encoder):
    """It would be noise: 400 says what the model is for."""
    with pytest.raises(package.BadRequestError, match="encoder"):
        await openai.chat.completions.create(model=encoder, messages=ASK)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_does_not_fit(openai, stream):
    """Never cut: 400 with both numbers, in a stream too."""
    with pytest.raises(package.BadRequestError) as caught:
        await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}], stream=stream
        )
    assert caught.value.code == "context_length_exceeded"
    assert sum(word.strip(",.").isdigit() for word in caught.value.message.split()) >= 2


async def test_an_image_is_refused_by_its_place(openai):
    """Before any work."""
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    with pytest.raises(package.BadRequestError, match="see images") as caught:
        await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": parts}]
        )
    assert caught.value.param == "messages.0.content"


async def test_breaking_off_frees_the_worker(openai, queen_url):
    """The task is cancelled, not run to its end for nobody."""
    stream = await openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell a very long story."}],
        max_tokens=900,
        extra_body={"ignore_eos": True},
        stream=True,
    )
    async for chunk in stream:
        job = chunk.id.removeprefix("chatcmpl-")
        break
    await stream.close()
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=queen_url) as http:
        while True:
            info = (await http.get(f"/v2/tasks/{job}")).json()
            if info["state"] == "cancelled":
                break
            await asyncio.sleep(0.05)
    assert info["timings"]["tokens_out"] < 900


async def test_a_killed_worker_is_not_seen(openai, served):
    """Kill -9 in mid-stream: the streams go on when the hive has brought the worker back."""
    asked = {"model": MODEL, "messages": ASK, "max_tokens": 24, "stream": True, "temperature": 0}
    asked |= {"extra_body": {"ignore_eos": True}, "stream_options": {"include_usage": True}}
    calm = await text_of(await openai.chat.completions.create(**asked, seed=1))
    strict = await openai.chat.completions.create(**asked, seed=1)
    loose = await openai.chat.completions.create(**asked)
    first = [await anext(strict), await anext(strict), await anext(loose), await anext(loose)]
    (worker,) = [p for p in served.fleet.processes() if serves(p, MODEL)]
    worker.kill()
    rest = [chunk async for chunk in strict]
    more = [chunk async for chunk in loose]
    text = "".join(c.choices[0].delta.content or "" for c in [*first[:2], *rest] if c.choices)
    assert text == calm
    assert rest[-1].usage.completion_tokens == more[-1].usage.completion_tokens == 24


def serves(process, model: str) -> bool:
    """Whether a process is a worker of the model."""
    words = process.cmdline()
    path = words[words.index("--model") + 1] if "rbee_agent.worker" in words else ""
    return Path(path).name.lower().startswith(model)


async def test_thirty_two_streams_at_once(openai):
    """All are whole, and each says what it says alone."""
    prompts = [f"Count from {place} upwards:" for place in range(32)]

    async def one(prompt: str) -> str:
        stream = await openai.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=6,
            stream=True,
            **EXACT,
        )
        return await text_of(stream)

    together = await asyncio.gather(*map(one, prompts))
    assert all(together)
    for place in (0, 17, 31):
        assert await one(prompts[place]) == together[place]


async def test_models(openai):
    """The demo model is ready; the encoder can be had."""
    listed = {one.id: one async for one in openai.models.list()}
    assert listed[MODEL].status == "ready"
    assert listed[MODEL].chat
    assert listed[POOLED].status in ("on_demand", "ready", "loading")
    assert listed[POOLED].embeddings
    with pytest.raises(package.NotFoundError):
        await openai.chat.completions.create(model="gpt-4o", messages=ASK)


def test_the_synchronous_client(queen_url):
    """It shares nothing but the wire with the other one."""
    with package.OpenAI(base_url=f"{queen_url}/v1", api_key="any") as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=8, stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ASK, max_tokens=2
        )
        assert raw.headers["x-request-id"].startswith("task-")
