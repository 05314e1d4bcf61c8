"""The official `anthropic` client, unmodified, on a real queen and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from rbee_agent.client import SyncQueenClient
from rbee_agent.contracts.keys import Role
from rbee_agent.contracts.tasks import TaskRequest
from tests.clients.conftest import Served

pytestmark = pytest.mark.model

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    """A client that has been told nothing but the queen's address and a key."""
    with anthropic.Anthropic(base_url=served.url, api_key=served.key) as made:
        yield made


def ask(served: Served, **more: Any) -> dict[str, Any]:
    """A request that always gets the same answer."""
    return {
        "model": served.model,
        "max_tokens": 16,
        "messages": SKY,
        "extra_body": {"temperature": 0},
        **more,
    }


def test_a_message(served: Served, client: anthropic.Anthropic) -> None:
    """Text, the reason of its end, a bill that adds up, and ids that can be asked about."""
    said = client.messages.create(**ask(served))

    assert said.content[0].text
    assert said.stop_reason == "max_tokens"
    assert said.usage.output_tokens == 16
    assert said.usage.input_tokens + said.usage.cache_read_input_tokens > 8
    assert said.id == f"msg_{said._request_id}"
    with SyncQueenClient(served.url, served.key) as queen:
        assert queen.task(str(said._request_id)).state == "done"


def test_streamed_and_whole_are_the_same(served: Served, client: anthropic.Anthropic) -> None:
    """The client's own accumulation of the events is the message that is not streamed."""
    whole = client.messages.create(**ask(served))
    with client.messages.stream(**ask(served)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()

    assert len(pieces) > 4
    assert "".join(pieces) == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_the_order_of_events(served: Served, client: anthropic.Anthropic) -> None:
    """Begun, pinged, one block opened and closed, the reason and the bill, stopped."""
    events = [event.type for event in client.messages.create(**ask(served, stream=True))]

    assert events[0] == "message_start"
    assert [kind for kind in events[1:] if kind not in ("ping", "content_block_delta")] == [
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_system_prompt_and_blocks_reach_the_model(
    served: Served, client: anthropic.Anthropic
) -> None:
    """Blocks are the same conversation as plain text, and the system prompt is a part of it."""
    blocks = [{"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]}]

    plain = client.messages.count_tokens(model=served.model, messages=SKY)
    same = client.messages.count_tokens(model=served.model, messages=blocks)
    more = client.messages.count_tokens(
        model=served.model, messages=SKY, system="You are a pirate. Answer in rhymes."
    )

    assert same == plain
    assert more.input_tokens != plain.input_tokens


def test_counted_tokens_are_the_billed_ones(served: Served, client: anthropic.Anthropic) -> None:
    """The counter says what the message's usage says, cached tokens included."""
    counted = client.messages.count_tokens(model=served.model, messages=SKY)
    usage = client.messages.create(**ask(served)).usage

    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_a_stop_sequence_is_named(served: Served, client: anthropic.Anthropic) -> None:
    """What ended the answer is said, and is not a part of it."""
    text = client.messages.create(**ask(served)).content[0].text
    word = text.split()[3]

    said = client.messages.create(**ask(served, stop_sequences=["never said", word]))

    assert said.stop_reason == "stop_sequence"
    assert said.stop_sequence == word
    assert said.content[0].text == text[: text.index(word)]


def test_a_tool_that_must_be_used(served: Served, client: anthropic.Anthropic) -> None:
    """Under grammar the call is the named tool's, and its input has the schema's shape."""
    asked = ask(
        served,
        max_tokens=48,
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
        messages=[{"role": "user", "content": "Weather in Paris?"}],
    )

    said = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()

    (call,) = [block for block in said.content if block.type == "tool_use"]
    assert said.stop_reason == "tool_use"
    assert call.name == "get_weather"
    assert set(call.input) == {"city"}
    assert [(b.name, b.input) for b in streamed.content if b.type == "tool_use"] == [
        (call.name, call.input)
    ]


def test_a_tool_result_goes_back(served: Served, client: anthropic.Anthropic) -> None:
    """A conversation with a call and its result is answered."""
    said = client.messages.create(
        **ask(
            served,
            tools=[WEATHER],
            messages=[
                {"role": "user", "content": "Weather in Paris?"},
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "tool_use",
                            "id": "toolu_1",
                            "name": "get_weather",
                            "input": {"city": "Paris"},
                        }
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "14 degrees"}
                    ],
                },
            ],
            tool_choice={"type": "none"},
        )
    )

    assert said.content[0].type == "text"


def test_an_answer_of_a_schema(served: Served, client: anthropic.Anthropic) -> None:
    """`output_config.format` is a grammar: the answer is JSON of that shape."""
    schema = {
        "type": "object",
        "properties": {"sky": {"enum": ["blue", "grey"]}},
        "required": ["sky"],
        "additionalProperties": False,
    }
    said = client.messages.create(
        **ask(served, output_config={"format": {"type": "json_schema", "schema": schema}})
    )

    assert json.loads(said.content[0].text)["sky"] in ("blue", "grey")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": "no-such-model"}, anthropic.NotFoundError, "no model of that name"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
        ({"stop_sequences": ["a"] * 5}, anthropic.BadRequestError, "stop_sequences"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            anthropic.BadRequestError,
            "does not think",
        ),
        ({"extra_body": {"colour": 1}}, anthropic.BadRequestError, "colour"),
        ({"container": "c"}, anthropic.BadRequestError, "container"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
                        ],
                    }
                ]
            },
            anthropic.BadRequestError,
            "see images",
        ),
        (
            {"messages": [{"role": "user", "content": "bee " * 20_000}]},
            anthropic.BadRequestError,
            "context",
        ),
    ],
)
def test_refusals_are_the_clients_own_errors(
    served: Served,
    client: anthropic.Anthropic,
    change: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    words: str,
) -> None:
    """Each refusal is the class that the client has for it, and names what is wrong."""
    with pytest.raises(kind, match=words) as caught:
        client.messages.create(**ask(served, **change))

    assert caught.value.body["type"] == "error"


def test_the_key_is_looked_at(served: Served) -> None:
    """What comes as x-api-key has the roles of its key: one that may only read is refused."""
    with SyncQueenClient(served.url, served.key) as queen:
        reader = queen.create_key("reader", [Role.READ])
    with (
        anthropic.Anthropic(base_url=served.url, api_key=reader.token) as client,
        pytest.raises(anthropic.PermissionDeniedError, match="submit"),
    ):
        client.messages.create(**ask(served))


def test_leaving_a_stream_cancels_its_task(served: Served, client: anthropic.Anthropic) -> None:
    """Nobody reads: nothing more is generated."""
    with client.messages.stream(**ask(served, max_tokens=400)) as stream:
        next(iter(stream.text_stream))
        job_id = stream.current_message_snapshot.id.removeprefix("msg_")
    with SyncQueenClient(served.url, served.key) as queen:
        frames = [event.event for event in queen.task_events(job_id)]
        state = queen.task(job_id).state

    assert frames[-1] == "error"
    assert state == "cancelled"


def test_the_same_text_as_v2(served: Served, client: anthropic.Anthropic) -> None:
    """One conversation at temperature 0 gets one answer, whichever API asks."""
    request = TaskRequest(
        model=served.model, workload="chat", messages=SKY, max_tokens=16, temperature=0
    )
    with SyncQueenClient(served.url, served.key) as queen:
        ours = queen.run(request, timeout=60).text

    assert client.messages.create(**ask(served)).content[0].text == ours
