"""What /v1/messages says of each kind of answer, as its official client understands it."""

from __future__ import annotations

import asyncio
import json

import anthropic
import pytest

from rbee_agent.errors import RbeeError
from rbee_agent.queen.api import call as calls
from rbee_agent.testing.scripts import CALLING, THINKING
from rbee_agent.testing.worker import Faults, answer

ASK = {"model": "demo", "max_tokens": 6, "messages": [{"role": "user", "content": "hello bees"}]}


async def test_text(client, worker):
    """What the worker said, why it ended, and the bill."""
    said = await client.messages.create(**ASK)
    assert said.content[0].text == answer("hello bees", 6)
    assert said.stop_reason == "max_tokens"
    assert (said.usage.input_tokens, said.usage.output_tokens) == (2, 6)


@pytest.mark.parametrize("stream", [True, False])
async def test_thinking_is_a_block_of_its_own(client, worker, stream):
    """The reasoning channel comes before the text, and is counted."""
    worker.script = THINKING
    said = await whole(client, stream=stream)
    assert [(b.type, getattr(b, b.type)) for b in said.content] == [
        ("thinking", "Hm, bees."),
        ("text", "Yes."),
    ]
    assert said.usage.output_tokens_details.thinking_tokens == 3
    # Both words of the prompt came out of the cache.
    assert (said.usage.input_tokens, said.usage.cache_read_input_tokens) == (0, 2)
    assert said.stop_reason == "end_turn"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "thinking", [{"type": "disabled"}, {"type": "adaptive", "display": "omitted"}], ids=str
)
async def test_thinking_can_be_left_out(client, worker, stream, thinking):
    """Who does not want to see it gets the text alone; it is billed all the same."""
    worker.script = THINKING
    said = await whole(client, stream=stream, thinking=thinking)
    assert [b.type for b in said.content] == ["text"]
    assert said.usage.output_tokens == 5


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls(client, worker, stream):
    """Text, then each call as a block with its whole input."""
    worker.script = CALLING
    said = await whole(client, stream=stream)
    assert [b.type for b in said.content] == ["text", "tool_use", "tool_use"]
    assert [(b.id, b.name, b.input) for b in said.content[1:]] == [
        ("call_a", "weather", {"city": "Bern"}),
        ("call_b", "time", {}),
    ]
    assert said.stop_reason == "tool_use"


async def test_a_stop_sequence(client, worker):
    """Which string ended the answer is told, where the worker knows."""
    worker.script = [
        ("token", {"i": 0, "t": "One", "ids": [1]}),
        ("end", {"tokens_in": 1, "tokens_out": 2, "finish_reason": "stop", "stop_sequence": "two"}),
    ]
    said = await client.messages.create(**ASK, stop_sequences=["two"])
    assert (said.stop_reason, said.stop_sequence) == ("stop_sequence", "two")


async def test_an_empty_answer_is_a_message(client, worker):
    """A model that says nothing leaves an empty text, not a broken stream."""
    worker.script = [("end", {"tokens_in": 1, "tokens_out": 0, "finish_reason": "stop"})]
    assert (await whole(client, stream=True)).content[0].text == ""
    assert (await whole(client, stream=False)).content == []


async def test_tool_arguments_that_are_no_json(client, worker):
    """What a model wrote without a grammar reaches the caller as it is."""
    worker.script = [
        (
            "tool_call",
            {"i": 0, "index": 0, "id": "c", "name": "f", "arguments_delta": "{oops", "ids": [1]},
        ),
        ("end", {"tokens_in": 1, "tokens_out": 1, "finish_reason": "tool_calls"}),
    ]
    said = await client.messages.create(**ASK)
    assert said.content[0].input == {"invalid_json": "{oops"}


async def test_a_failure_in_mid_stream_is_raised(client, worker):
    """The API's error event, on which its client raises."""
    worker.faults = Faults(error_after=3, error_code="INTERNAL")
    pieces = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with client.messages.stream(**ASK) as stream:
            pieces += [piece async for piece in stream.text_stream]
    assert caught.value.body["error"]["type"] == "api_error"


async def test_while_nothing_comes_there_are_pings(caller, client, worker, monkeypatch):
    """A caller who waits for a slot hears the API's own pings."""
    monkeypatch.setattr(calls, "HOLD_S", 0.01)
    monkeypatch.setattr(calls, "PING_INTERVAL_S", 0.02)
    worker.gate = asyncio.Event()
    said = ""
    async with caller.http.stream("POST", "/v1/messages", json={**ASK, "stream": True}) as reply:
        async for line in reply.aiter_lines():
            said += line + "\n"
            if said.count("event: ping") == 4:
                worker.gate.set()
    assert said.startswith("event: message_start")
    assert 'data: {"type":"message_stop"}' in said


async def test_what_a_conversation_becomes(client, worker):
    """System prompt, calls and results reach the worker as turns that templates know."""
    await client.messages.create(
        **{
            **ASK,
            "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}],
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": ""},
                        {"type": "text", "text": "Let me see."},
                        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"c": "Bern"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": "no such city",
                            "is_error": True,
                        },
                        {
                            "type": "text",
                            "text": "And?",
                            "cache_control": {"type": "ephemeral"},
                        },
                    ],
                },
            ],
            "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "metadata": {"user_id": "ada"},
        }
    )
    job = worker.seen.requests[-1]
    call = {"name": "weather", "arguments": json.dumps({"c": "Bern"})}
    assert [message.dump() for message in job.messages] == [
        {"role": "system", "content": "Be\n\nbrief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {
            "role": "tool",
            "content": "Error: no such city",
            "tool_call_id": "c1",
            "name": "weather",
        },
        {"role": "user", "content": "And?"},
    ]
    assert job.tools == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    assert (job.tool_choice.mode, job.tool_choice.parallel) == ("required", False)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": [None], "text": "x"}],
        [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
        [{"type": "text"}],
        ["x"],
        7,
    ],
    ids=str,
)
async def test_odd_blocks_are_refused(caller, worker, content):
    """Whatever stands in a message, the answer is a 400 that says where."""
    body = {**ASK, "messages": [{"role": "user", "content": content}]}
    reply = await caller.http.post("/v1/messages", json=body)
    assert reply.status_code == 400
    assert "messages" in reply.json()["error"]["message"]


async def test_the_counter_says_what_the_bill_says(client, worker):
    """Without generating anything."""
    counted = await client.messages.count_tokens(model="demo", messages=ASK["messages"])
    assert counted.input_tokens == 2
    assert worker.seen.executions == 0


async def test_a_counter_has_the_model_loaded(caller, client, hive, worker):
    """Where no worker has the model one is started, as for a task, and nothing is generated."""
    await caller.http.delete("/v2/workers/w1")
    counted = await client.messages.count_tokens(model="demo", messages=ASK["messages"])
    assert counted.input_tokens == 2
    assert len(hive.spawns) == 1


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
async def test_either_header_holds_the_key(caller, client, header):
    """A key that may not submit is refused, in whichever of the two places it stands."""
    made = (await caller.http.post("/v2/keys", json={"name": "eyes", "roles": ["read"]})).json()
    token = made["token"] if header == "X-Api-Key" else f"Bearer {made['token']}"
    reply = await caller.http.post("/v1/messages", json=ASK, headers={header: token})
    assert reply.status_code == 403
    assert reply.json()["error"]["type"] == "permission_error"


async def test_a_full_queue_is_a_rate_limit(caller, client, worker, monkeypatch):
    """With the time after which to try again, in the header that its client honours."""

    async def full(*_: object, **__: object) -> None:
        raise RbeeError("the queue is full", code="ADMISSION_REJECT", retry_after_ms=2500)

    monkeypatch.setattr(type(caller.queen.admission), "submit", full)
    with pytest.raises(anthropic.RateLimitError) as caught:
        await client.messages.create(**ASK)
    assert caught.value.response.headers["retry-after"] == "3"


async def test_models_are_listed(client, worker):
    """One page of models, each of which can be asked for and shown."""
    (model,) = (await client.models.list()).data
    assert (model.id, model.type, model.max_input_tokens) == ("demo", "model", 4096)
    assert (await client.models.retrieve("demo")).display_name == "demo"


async def test_who_hangs_up_cancels(caller, client, worker):
    """The task ends with its caller."""
    worker.gate = asyncio.Event()
    with pytest.raises(anthropic.APITimeoutError):
        await client.messages.create(**ASK, timeout=0.2)
    await caller.until(lambda: not caller.queen.tasks.queue.open)


async def whole(client, *, stream, **more):
    """The message, however it came."""
    if not stream:
        return await client.messages.create(**ASK, **more)
    async with client.messages.stream(**ASK, **more) as events:
        return await events.get_final_message()
