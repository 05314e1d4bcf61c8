"""Chat templates: as Hugging Face runs them, for files without one, and what they say of tools."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.contracts.tasks import Message
from rbee_agent.contracts.workers import CHAT_TEMPLATES
from rbee_agent.engine.builtin_templates import TEMPLATES, template_for
from rbee_agent.engine.llama import EngineLoadError
from rbee_agent.engine.options import EngineOptions
from rbee_agent.engine.template import ChatTemplate, Prompt
from rbee_agent.errors import InvalidParams
from tests.engine_harness import running

Start = Callable[..., "subprocess.Popen[bytes]"]

TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Look", "parameters": {"type": "object"}},
}
TALK = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]


def _template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos="<s>", eos="</s>")


def _render(source: str, *turns: Any, **more: Any) -> Prompt:
    messages = [
        Message(role=turn[0], content=turn[1]) if isinstance(turn, tuple) else Message(**turn)
        for turn in turns
    ]
    return _template(source).render(messages, more.pop("tools", None), more or None)


CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"where": "there"}'},
        }
    ],
}
RESULT = {"role": "tool", "content": "a bee", "tool_call_id": "call_1"}


EXPECTED = {
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] Be kind.\n\nHi [/INST] Hello</s>[INST] Bye [/INST]",
    "gemma": "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello"
    "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
    "phi3": "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
    "<|user|>\nBye<|end|>\n<|assistant|>\n",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"
    "<|user|>\nBye</s>\n<|assistant|>\n",
    "vicuna": "Be kind.\n\nUSER: Hi\nASSISTANT: Hello</s>\nUSER: Bye\nASSISTANT:",
    "command-r": "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be kind.<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "deepseek": "<s>Be kind.<｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>Bye<｜Assistant｜>",
    "granite": "<|start_of_role|>system<|end_of_role|>Be kind.<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>Hello<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>Bye<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>",
}


def test_hives_know_the_names_of_the_built_in_ones() -> None:
    """What a hive lets pass, a worker has."""
    assert tuple(TEMPLATES) == CHAT_TEMPLATES


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_built_in_template_writes_what_its_family_reads(name: str) -> None:
    """A talk with a system turn, as each family was taught it."""
    assert EXPECTED[name] == _render(TEMPLATES[name], *TALK).text


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_built_in_template_can_tell_of_tools(name: str) -> None:
    """A template that knows no tools: they, calls and results stand in its own turns."""
    text = _render(TEMPLATES[name], *TALK[1:], CALLED, RESULT, tools=[TOOL]).text

    assert '"name": "look"' in text
    assert '<tool_call>\n{"name": "look", "arguments": {"where": "there"}}\n</tool_call>' in text
    assert "<tool_response>\na bee\n</tool_response>" in text


@pytest.mark.parametrize(
    ("tokens", "name"),
    [
        ({"<|im_start|>", "<|im_end|>"}, "chatml"),
        ({"<|start_header_id|>"}, "llama3"),
        ({"<|assistant|>", "<|end|>"}, "phi3"),
        ({"<|assistant|>"}, "zephyr"),
        ({"[INST]"}, "mistral"),
        (set(), "chatml"),
    ],
)
def test_a_vocabulary_means_a_template(tokens: set[str], name: str) -> None:
    """Files without a template are known by their tokens."""
    assert name == template_for(tokens.__contains__)


def test_what_real_templates_use_is_there() -> None:
    """Dates, JSON with indents, breaks, generation marks, exceptions: as in transformers."""
    year = str(datetime.datetime.now().astimezone().year)
    assert year == _render("{{ strftime_now('%Y') }}", ("user", "x")).text
    indented = _render("{{ {'b': 1, 'a': 'é'} | tojson(indent=1, sort_keys=True) }}", ("user", ""))
    assert indented.text == '{\n "a": "é",\n "b": 1\n}'
    looped = "{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}"
    assert _render(looped, ("user", "x")).text == "01"
    assert _render("{% generation %}body{% endgeneration %}", ("user", "x")).text == "body"
    assert _render("{{ 'on' if thinking }}", ("user", "x"), thinking=True).text == "on"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.join(messages) }}",
        "{{ 1 / 0 }}",
        "{% for a in range(10**9) %}{% endfor %}",
        "{% if %}",
        "{{ messages[7].content.x.y }}",
    ],
)
def test_a_template_that_fails_refuses_the_messages(source: str) -> None:
    """However a stranger's program fails, it is a 400 that says so; nothing gets out of the box."""
    with pytest.raises(InvalidParams) as refused:
        _render(source, ("user", "secret words"))

    assert refused.value.errors[0]["constraint"] == "chat_template"
    assert "secret" not in refused.value.message


def test_a_template_that_knows_tools_gets_them() -> None:
    """Tools as they are, arguments as a mapping, and no words of ours."""
    source = (
        "{% for tool in tools %}<tool_call>{{ tool.function.name }}{% endfor %}"
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{ c.function.arguments.where }}{% endfor %}{% endfor %}"
    )

    assert _render(source, ("user", "x"), CALLED, tools=[TOOL]).text == "<tool_call>lookthere"


@pytest.mark.parametrize("write", ["'```' + c.function.arguments + '```'", "c.function.arguments"])
def test_a_template_that_wants_arguments_as_text_gets_text(write: str) -> None:
    """DeepSeek's joins strings; one that prints a mapping would show Python's quotes."""
    source = (
        "{{ tools }}{% for m in messages %}{% for c in m.tool_calls or [] %}"
        f"{{{{ {write} }}}}{{% endfor %}}{{% endfor %}}"
    )

    assert '{"where": "there"}' in _render(source, ("user", "x"), CALLED, tools=[TOOL]).text


def test_mistral_s_ids_have_nine_letters() -> None:
    """Its template refuses others, wherever they were made; call and result stay together."""
    source = (
        "[TOOL_CALLS]{{ tools }}{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{ '|' + c.id }}{% endfor %}{{ '|' + (m.tool_call_id or '') }}{% endfor %}"
    )
    text = _render(source, ("user", "x"), CALLED, RESULT, tools=[TOOL]).text
    ids = [part for part in text.split("|")[1:] if part]

    assert len(ids) == 2
    assert ids[0] == ids[1]
    assert len(ids[0]) == 9


@pytest.mark.parametrize(
    ("end", "opened"), [("<think>\n", "</think>"), ("", None), ("<think>\n\n</think>\n\n", None)]
)
def test_a_thought_that_the_prompt_begins_is_known(end: str, opened: str | None) -> None:
    """What the model writes then is reasoning until the closing mark."""
    source = "{{ messages[0].content }}" + end + "{# <think> #}"
    prompt = _render(source, ("user", "x"))

    assert opened == prompt.opened
    assert prompt.thinks


def test_a_template_that_insists_on_descriptions() -> None:
    """Tools without one are as good: an empty description stands in."""
    source = "{{ 'about ' + tools[0].function.parameters.properties.where.description }}"
    parameters = {"type": "object", "properties": {"where": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}

    assert _render(source, ("user", "x"), tools=[tool]).text == "about "


def test_firefunction_s_names_for_tools() -> None:
    """Its template wants `functions` as JSON, and the date, with tools and without."""
    source = "{{ functions + ' on ' + datetime }}"

    assert "[] on " in _render(source, ("user", "x")).text
    assert '"look"' in _render(source, ("user", "x"), tools=[TOOL]).text


@pytest.mark.model
def test_an_operator_s_template_that_does_not_compile_stops_the_start(demo_model: Path) -> None:
    """Better no worker than one that refuses every conversation."""
    options = EngineOptions(model_path=demo_model, context=64, slots=1, chat_template="{% if %}")
    with pytest.raises(EngineLoadError, match="does not compile"), running(options):
        pass
