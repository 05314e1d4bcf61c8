"""What callers of vLLM and llama.cpp's server send, and what chat UIs do: taken as it is meant."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import InvalidParams
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.openai.bodies import choices
from rbee_agent.queen.api.openai.chat_body import REFUSED, ChatBody
from rbee_agent.queen.api.openai.elsewhere import guided
from tests.queen.openai.test_bodies import SCHEMA, TOOL, USER, respond


def chat(**body) -> TaskRequest:
    """The task that a chat request becomes, as the route reads it."""
    given = guided({"model": "m", "messages": [USER], **body})
    read = read_body(ChatBody, REFUSED, given)
    (task,) = choices(read.fields(), 1, read.seed)
    return task


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"max_tokens": -1}, "max_tokens", None),
        ({"n_predict": 5}, "max_tokens", 5),
        ({"n_predict": -1, "max_completion_tokens": 7}, "max_tokens", 7),
        ({"top_k": -1}, "top_k", 0),
        ({"repeat_last_n": -1}, "penalty_last_n", -1),
        ({"reasoning_effort": "low"}, "reasoning_effort", "low"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs", {"a": 1}),
        ({"tools": [], "tool_choice": "auto"}, "tools", None),
        ({"tool_choice": "none"}, "tool_choice", None),
        ({"guided_choice": ["yes", "no"]}, "grammar", 'root ::= answer\nanswer ::= "yes" | "no"'),
        ({"structured_outputs": {"grammar": "g"}}, "grammar", "g"),
        ({"logprobs": False, "top_logprobs": 0}, "logprobs", None),
    ],
    ids=str,
)
def test_what_other_servers_take_is_taken(body, field, value):
    """The habits of vLLM's and llama.cpp's callers mean here what they mean there."""
    assert getattr(chat(**body), field) == value


@pytest.mark.parametrize(
    "body",
    [
        {"guided_json": SCHEMA},
        {"guided_json": '{"type": "object", "properties": {"a": {"type": "integer"}}}'},
        {"structured_outputs": {"json": SCHEMA}},
        {"json_schema": SCHEMA},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
    ids=str,
)
def test_a_schema_may_come_in_other_servers_ways(body):
    """It is enforced like OpenAI's own."""
    assert chat(**body).response_format.json_schema == SCHEMA


def test_a_pattern_is_a_grammar_or_refused():
    """The whole answer is the pattern; one that no grammar enforces is refused with the reason."""
    assert "root ::=" in chat(guided_regex="[ab]+").grammar
    with pytest.raises(InvalidParams, match=r"structured_outputs.*looks ahead"):
        chat(guided_regex="(?=a)b")
    with pytest.raises(InvalidParams, match="one of"):
        chat(structured_outputs={"regex": "a", "choice": ["a"]})


def test_allowed_tools_are_those_that_are_offered():
    """The others are not shown; what the choice says of them holds."""
    other = {"type": "function", "function": {"name": "mcp.fs.read", "parameters": {}}}
    some = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": some}
    task = chat(tools=[TOOL, other], tool_choice=choice)
    assert [tool["function"]["name"] for tool in task.tools] == ["weather"]
    assert task.tool_choice.mode == "required"
    for same in ("any", {"type": "any"}):
        assert chat(tools=[TOOL], tool_choice=same).tool_choice.mode == "required"
    with pytest.raises(InvalidParams, match=r"^tool_choice: none, auto"):
        chat(tools=[TOOL], tool_choice={"type": "custom"})
    with pytest.raises(InvalidParams, match="not among the tools"):
        chat(tools=[other], tool_choice=choice)


def test_messages_as_chat_clients_send_them_back():
    """Thoughts by their other name, ids, results without a text, breakpoints of caches."""
    turns = [
        {**USER, "id": "message-1"},
        {"role": "assistant", "content": "a", "reasoning": "Hm.", "refusal": None},
        {"role": "tool", "tool_call_id": "c", "content": None},
    ]
    tool = {**TOOL, "cache_control": {"type": "ephemeral"}}
    task = chat(messages=turns, tools=[tool])
    assert task.messages[1].reasoning_content == "Hm."
    assert task.messages[2].content == ""
    assert task.tools == [TOOL]


def test_effort_of_a_response():
    """`reasoning.effort` is the task's; thoughts are shown whole, never summarized at length."""
    assert respond(reasoning={"effort": "high", "summary": "auto"}).reasoning_effort == "high"
    with pytest.raises(InvalidParams, match=r"reasoning\.summary"):
        respond(reasoning={"summary": "detailed"})
