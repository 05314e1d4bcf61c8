"""What requests become: the tasks behind them, and what is refused."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import InvalidParams
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.openai.bodies import choices, task_of
from rbee_agent.queen.api.openai.chat_body import REFUSED, ChatBody
from rbee_agent.queen.api.openai.completions import REFUSED as COMPLETION_REFUSED
from rbee_agent.queen.api.openai.completions import CompletionBody
from rbee_agent.queen.api.openai.embeddings import REFUSED as EMBEDDING_REFUSED
from rbee_agent.queen.api.openai.embeddings import EmbeddingBody
from rbee_agent.queen.api.openai.responses_body import REFUSED as RESPONSES_REFUSED
from rbee_agent.queen.api.openai.responses_body import ResponsesBody

USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(**body) -> TaskRequest:
    """The task that a chat request becomes."""
    given = {"model": "m", "messages": [USER], **body}
    read = read_body(ChatBody, REFUSED, given)
    (task,) = choices(read.fields(), 1, read.seed)
    return task


def respond(**body) -> TaskRequest:
    """The task that a request for a response becomes."""
    read = read_body(ResponsesBody, RESPONSES_REFUSED, {"model": "m", "input": "hello", **body})
    return task_of(read.fields())


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"temperature": 0.3}, "temperature", 0.3),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"presence_penalty": -1.0}, "presence_penalty", -1.0),
        ({"frequency_penalty": 1.5}, "frequency_penalty", 1.5),
        ({"logit_bias": {"5": -100}}, "logit_bias", {"5": -100.0}),
        ({"seed": 3}, "seed", 3),
        ({"seed": -1}, "seed", 2**64 - 1),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ["x", "y"]}, "stop", ["x", "y"]),
        ({"stop": None}, "stop", []),
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_completion_tokens": 6}, "max_tokens", 6),
        ({"max_completion_tokens": 6, "max_tokens": 6}, "max_tokens", 6),
        ({"logprobs": True}, "logprobs", 0),
        ({"logprobs": True, "top_logprobs": 4}, "logprobs", 4),
        ({"logprobs": False}, "logprobs", None),
        ({"service_tier": "flex"}, "priority", "batch"),
        ({"service_tier": "auto"}, "priority", "interactive"),
        ({"top_k": 7}, "top_k", 7),
        ({"min_p": 0.1}, "min_p", 0.1),
        ({"repeat_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"repetition_penalty": 1.3}, "repetition_penalty", 1.3),
        ({"cache_prompt": False}, "kv_hint", "cold"),
        ({"cache_prompt": True}, "kv_hint", "reuse"),
        ({"ignore_eos": True}, "ignore_eos", True),
        ({"deadline_ms": 9}, "deadline_ms", 9),
    ],
    ids=str,
)
def test_a_chat_field_reaches_the_task(body, field, value):
    """Each field that is supported says something to the task."""
    assert getattr(chat(**body), field) == value


def test_each_choice_has_its_seed():
    """Choices of one request differ, and differ in the same way every time."""
    seeds = [task.seed for task in choices({"model": "m", "prompt": "x"}, 3, 2**64 - 1)]
    assert seeds == [2**64 - 1, 0, 1]
    assert [task.seed for task in choices({"model": "m", "prompt": "x"}, 2, None)] == [None] * 2


@pytest.mark.parametrize(
    ("given", "kind", "schema"),
    [
        ({"type": "text"}, "text", None),
        ({"type": "json_object"}, "json_object", None),
        ({"type": "json_object", "schema": SCHEMA}, "json_schema", SCHEMA),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            "json_schema",
            SCHEMA,
        ),
    ],
    ids=["text", "object", "bare", "wrapped"],
)
def test_response_formats_are_unwrapped(given, kind, schema):
    """The task has the bare schema."""
    wanted = chat(response_format=given).response_format
    assert (wanted.type, wanted.json_schema) == (kind, schema)


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        (None, "auto", None),
        ("auto", "auto", None),
        ("none", "none", None),
        ("required", "required", None),
        ({"type": "function", "function": {"name": "weather"}}, "named", "weather"),
    ],
    ids=str,
)
def test_tool_choices(choice, mode, name):
    """All ways to say it mean what they mean at OpenAI."""
    task = chat(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert (task.tool_choice.mode, task.tool_choice.name) == (mode, name)
    assert not task.tool_choice.parallel
    assert task.tools[0]["function"]["name"] == "weather"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 200}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 30}, "logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"messages": [{**USER, "audio": {"id": "x"}}]}, "messages.0.audio"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repeat_penalty"),
    ],
    ids=str,
)
def test_a_chat_request_that_cannot_be_meant_is_refused(body, field):
    """The violation names the field."""
    with pytest.raises(InvalidParams) as caught:
        chat(**body)
    said = " ".join(f"{one['field']} {one['message']}" for one in caught.value.errors)
    assert field in said


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "anything"])
def test_what_is_not_text_is_refused_by_its_place(kind):
    """The second part of the first message, and what it cannot do."""
    parts = [{"type": "text", "text": "what is this?"}, {"type": kind, kind: {"url": "data:x"}}]
    with pytest.raises(InvalidParams) as caught:
        chat(messages=[{"role": "user", "content": parts}])
    (error,) = caught.value.errors
    assert error["field"] == "messages.0.content"
    assert "part 1" in error["message"]
    assert "data:x" not in error["message"]


def test_answers_can_be_sent_back_as_they_came():
    """What an answer holds empty is not a reason to refuse it; text parts are put together."""
    said = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "audio": None,
        "annotations": [],
        "function_call": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        ],
    }
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    result = {"role": "tool", "tool_call_id": "a", "content": parts}
    system = {"role": "developer", "content": "be brief"}
    messages = chat(messages=[system, USER, said, result]).messages
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2].tool_calls[0]["id"] == "a"
    assert messages[2].reasoning_content == "hm"
    assert messages[3].text() == "one two"


def complete(**body) -> list[TaskRequest]:
    """The tasks that a completion request becomes."""
    return read_body(CompletionBody, COMPLETION_REFUSED, {"model": "m", **body}).tasks({})


def test_prompts_and_choices_of_a_completion():
    """For each prompt its choices, in a row, 16 tokens each unless told otherwise."""
    tasks = complete(prompt=["a", "b"], n=2, logprobs=3)
    assert [task.prompt for task in tasks] == ["a", "a", "b", "b"]
    assert {task.max_tokens for task in tasks} == {16}
    assert {task.logprobs for task in tasks} == {3}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": []},
        {"prompt": ["x"] * 129},
        {"prompt": ["x"] * 64, "n": 3},
        {"prompt": "x", "best_of": 2},
        {"prompt": "x", "echo": True, "logprobs": 1},
        {"prompt": "x", "suffix": "y"},
    ],
    ids=["ids", "id-lists", "none", "many", "product", "best_of", "echo", "suffix"],
)
def test_a_completion_that_cannot_be_had_is_refused(body):
    """Token ids, ranking and filling in are not here, and are not ignored."""
    with pytest.raises(InvalidParams):
        complete(**body)


@pytest.mark.parametrize("given", [[1, 2], [[1], [2]], [], ["x"] * 2049], ids=repr)
def test_embeddings_take_texts_alone(given):
    """LangChain sends token ids of OpenAI's tokenizer unless told not to: it is told how."""
    with pytest.raises(InvalidParams):
        read_body(EmbeddingBody, EMBEDDING_REFUSED, {"model": "m", "input": given})


def test_items_become_turns():
    """What an assistant thought, said and called is one turn; outputs are turns of tools."""
    task = respond(
        instructions="be brief",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "reasoning", "id": "r", "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "time", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "rain"},
            {"type": "function_call_output", "call_id": "b", "output": "noon"},
            {
                "type": "message",
                "id": "m",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Rain.", "annotations": []}],
            },
            {"role": "user", "content": "and tomorrow?"},
        ],
    )
    roles = [message.role for message in task.messages]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [call["id"] for call in task.messages[2].tool_calls] == ["a", "b"]
    assert task.messages[2].reasoning_content == "hm"
    assert task.messages[5].text() == "Rain."


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"max_output_tokens": 5}, "max_tokens", 5),
        ({"temperature": 0.1}, "temperature", 0.1),
        ({"top_p": 0.2}, "top_p", 0.2),
        ({"top_logprobs": 2}, "logprobs", 2),
        ({"include": ["message.output_text.logprobs"]}, "logprobs", 0),
        ({"seed": 4}, "seed", 4),
        ({"service_tier": "flex"}, "priority", "batch"),
    ],
    ids=str,
)
def test_a_field_of_a_response_reaches_the_task(body, field, value):
    """As for chat."""
    assert getattr(respond(**body), field) == value


def test_tools_and_formats_of_a_response():
    """This API writes them flat; the task has them as templates know them."""
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
    named = {"type": "function", "name": "weather"}
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    task = respond(tools=[tool], tool_choice=named, text={"format": form})
    assert task.tools[0]["function"]["name"] == "weather"
    assert (task.tool_choice.mode, task.tool_choice.name) == ("named", "weather")
    assert task.response_format.json_schema == SCHEMA


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "x"},
        {"type": "function_call", "name": "x"},
        {"type": "reasoning", "content": ["x"]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]},
        {"role": "user"},
    ],
    ids=["reference", "half-call", "odd", "image", "empty"],
)
def test_an_item_that_cannot_be_read_is_refused_by_its_place(item):
    """The second item of the input."""
    with pytest.raises(InvalidParams) as caught:
        respond(input=[{"role": "user", "content": "x"}, item])
    assert any("1" in error["field"] for error in caught.value.errors)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "web_search"}]},
        {"tool_choice": "required"},
        {"text": {"verbosity": "low"}},
        {"text": {"format": {"type": "json_schema", "name": "n"}}},
        {"include": ["reasoning.encrypted_content"]},
        {"truncation": "auto"},
        {"store": True},
        {"stream_options": {"include_obfuscation": True}},
    ],
    ids=str,
)
def test_a_response_that_cannot_be_had_is_refused(body):
    """Nothing is ignored."""
    with pytest.raises(InvalidParams):
        respond(**body)
