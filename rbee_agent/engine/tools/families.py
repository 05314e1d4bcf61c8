"""How each model family writes tool calls and thoughts, and which family a template means."""

from __future__ import annotations

import re
from dataclasses import replace

from rbee_agent.engine.tools.styles import HERMES_WORDING, Style, Wording, listed_json
from rbee_agent.engine.tools.tag_families import (
    DSML,
    GLM,
    KIMI_3,
    MINICPM,
    MINIMAX,
    MINIMAX_3,
    QWEN_CODER,
    SEED,
)

HERMES = Style(
    "hermes",
    begin=("<tool_call>",),
    after=("</tool_call>",),
    wording=HERMES_WORDING,
    signs=("<tool_call>",),
)
"""Hermes, Qwen 2.5 and 3, and every model whose template knows no tools."""

LLAMA = Style(
    "llama",
    begin=("<|python_tag|>",),
    wording=Wording('{"name": "', '", "parameters": ', "}", several=False),
    bare="{",
    body="python",
    signs=("<|python_tag|>", '"parameters": dictionary'),
)
"""Llama 3.1 to 3.3: bare JSON, or code behind a tag."""

MISTRAL = Style(
    "mistral",
    begin=("[TOOL_CALLS]",),
    wording=listed_json("[TOOL_CALLS][", "]"),
    head=re.compile(r"\s*(?P<name>[\w.-]+?)(\[CALL_ID\]\w*)?(\[ARGS\])?\s*"),
    thinking=(("[THINK]", "[/THINK]"), ("<think>", "</think>")),
    tokens=("[ARGS]", "[CALL_ID]"),
    short_ids=True,
    signs=("[TOOL_CALLS]",),
)
"""Mistral, with a list of calls or with names before ``[ARGS]``."""

MISTRAL_ARGS = Style(
    "mistral-args",
    begin=MISTRAL.begin,
    wording=Wording("[TOOL_CALLS]", "[ARGS]", separator=""),
    head=MISTRAL.head,
    thinking=MISTRAL.thinking,
    tokens=MISTRAL.tokens,
    short_ids=True,
    signs=("[ARGS]",),
)
"""Mistral since the middle of 2025."""

FUNCTIONARY = Style(
    "functionary",
    begin=(">>>",),
    wording=Wording("", "\n", separator="\n>>>"),
    head=re.compile(r"(?P<name>[\w.-]+)\n\s*"),
    before_text="all\n",
    thinking=(),
    body="recipients",
    signs=(">>>all", "'>>>'"),
)
"""Functionary 3.2: each part of an answer names whom it is for; the prompt ends in ``>>>``."""

FUNCTION_TAGS = Style(
    "function-tags",
    begin=("<function=",),
    after=("</function>",),
    wording=Wording("<function=", ">", "</function>", separator=""),
    head=re.compile(r"(?P<name>[\w.-]+)>\s*"),
    signs=("<function=",),
)
"""Functionary 3.1, and Llama 3 as some serve it."""

COMMAND_R = Style(
    "command-r",
    begin=("<|START_ACTION|>",),
    skip=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    after=("<|END_ACTION|>",),
    wording=Wording(
        '{"tool_call_id": "0", "tool_name": "', '", "parameters": ', "}",
        "<|START_ACTION|>[", ", ", "]<|END_ACTION|>",
    ),
    thinking=(("<|START_THINKING|>", "<|END_THINKING|>"),),
    signs=("<|START_ACTION|>",),
)  # fmt: skip
"""Command R7B and Command A."""

COMMAND_R_PLUS = Style(
    "command-r-plus",
    begin=("Action: ```json", "Action:```json", "Action:\n```json"),
    after=("```",),
    wording=Wording(
        '{"tool_name": "', '", "parameters": ', "}", "Action: ```json\n[", ", ", "]\n```"
    ),
    signs=("Action: ```json", "Action:```json", "Action:\\n```json"),
)
"""The first Command R and R+."""

DEEPSEEK = Style(
    "deepseek",
    begin=("<｜tool▁call▁begin｜>",),
    skip=("<｜tool▁calls▁begin｜>",),
    after=("<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "```"),
    wording=Wording(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>", "\n", "<｜tool▁calls▁end｜>",
    ),
    head=re.compile(r"(function<｜tool▁sep｜>)?(?P<name>[\w.-]+)(<｜tool▁sep｜>)?\s*(```json)?\s*"),
    tokens=("<｜tool▁sep｜>",),
    signs=("```json", "<｜tool▁calls▁begin｜>"),
    needs="<｜tool▁calls▁begin｜>",
)  # fmt: skip
"""DeepSeek V3 and R1; V3.1 is read too."""

DEEPSEEK_31 = Style(
    "deepseek-3.1",
    begin=DEEPSEEK.begin,
    skip=DEEPSEEK.skip,
    after=DEEPSEEK.after,
    wording=Wording(
        "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>", "", "<｜tool▁calls▁end｜>",
    ),
    head=DEEPSEEK.head,
    tokens=DEEPSEEK.tokens,
    signs=("<｜tool▁calls▁begin｜>",),
)  # fmt: skip
"""DeepSeek V3.1 and later: no fence around the arguments."""

GRANITE = Style(
    "granite",
    begin=("<|tool_call|>", "<tool_call>"),
    skip=("<response>", "</response>"),
    after=("<|/tool_call|>", "</tool_call>"),
    wording=listed_json("<|tool_call|>[", "]"),
    signs=("<|tool_call|>",),
)
"""Granite 3, and Phi 4 mini, which closes its list with a mark."""

FUNCTOOLS = Style(
    "functools",
    begin=("functools",),
    wording=listed_json("functools[", "]"),
    signs=("functools[",),
)
"""FireFunction, and Phi 4 mini as it was first described."""

HARMONY = Style(
    "harmony",
    begin=("<|channel|>", "<|start|>assistant"),
    skip=("<|end|>", "<|return|>", "<|call|>"),
    wording=Wording(
        "<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", several=False
    ),
    tokens=("<|message|>", "<|constrain|>", "<|start|>"),
    thinking=(),
    before_text="<|channel|>final<|message|>",
    body="channels",
    signs=("<|channel|>",),
)
"""gpt-oss: every message names its channel."""

KIMI = Style(
    "kimi",
    begin=("<|tool_call_begin|>",),
    skip=("<|tool_calls_section_begin|>",),
    after=("<|tool_call_end|>", "<|tool_calls_section_end|>"),
    wording=Wording(
        "<|tool_call_begin|>functions.", ":0<|tool_call_argument_begin|>", "<|tool_call_end|>",
        "<|tool_calls_section_begin|>", "", "<|tool_calls_section_end|>",
    ),
    head=re.compile(
        r"\s*(functions\.)?(?P<name>[\w.-]+?)(:\d+)?\s*(<\|tool_call_argument_begin\|>)\s*"
    ),
    tokens=("<|tool_call_argument_begin|>",),
    calls_end_thoughts=True,
    signs=("<|tool_calls_section_begin|>",),
)  # fmt: skip
"""Kimi K2."""

NEMOTRON = Style(
    "nemotron",
    begin=("<TOOLCALL>",),
    after=("</TOOLCALL>",),
    wording=listed_json("<TOOLCALL>[", "]</TOOLCALL>"),
    signs=("<TOOLCALL>",),
)
"""Nemotron Nano 2 and Llama Nemotron."""

INTERNLM = Style(
    "internlm",
    begin=("<|action_start|><|plugin|>", "<|action_start|> <|plugin|>"),
    after=("<|action_end|>",),
    wording=Wording(
        '{"name": "', '", "parameters": ', "}", "<|action_start|><|plugin|>\n", "",
        "<|action_end|>", several=False,
    ),
    signs=("<|plugin|>",),
)  # fmt: skip
"""InternLM 2.5 and 3."""

GEMMA = Style(
    "gemma",
    begin=("<|tool_call>",),
    skip=("<|channel>", "<channel|>"),
    after=("<tool_call|>",),
    wording=Wording("<|tool_call>call:", "", "<tool_call|>", separator=""),
    body="gemma",
    thinking=(("<|channel>thought", "<channel|>"),),
    tokens=('<|"|>',),
    signs=("<|tool_call>call:",),
)
"""Gemma 4."""

LFM = Style(
    "lfm",
    begin=("<|tool_call_start|>",),
    after=("<|tool_call_end|>",),
    wording=listed_json("<|tool_call_start|>[", "]<|tool_call_end|>"),
    body="calls",
    signs=("<|tool_call_start|>", "<|tool_list_start|>", "List of tools: "),
)  # fmt: skip
"""LFM 2: Python's way to call."""

LLAMA_4 = Style(
    "llama-4",
    begin=("<|python_start|>",),
    after=("<|python_end|>",),
    wording=listed_json("[", "]"),
    bare="[",
    body="calls",
    signs=("<|python_start|>",),
)
"""Llama 4: a list of calls, as Python writes them."""

OLMO = Style(
    "olmo",
    begin=("<function_calls>",),
    after=("</function_calls>",),
    wording=listed_json("<function_calls>[", "]</function_calls>"),
    body="calls",
    signs=("<function_calls>",),
)
"""Olmo 3: calls as Python writes them, one a line."""

APERTUS = Style(
    "apertus",
    begin=("<|tools_prefix|>",),
    after=("<|tools_suffix|>",),
    wording=Wording('{"', '": ', "}", "<|tools_prefix|>[", ", ", "]<|tools_suffix|>"),
    thinking=(("<|inner_prefix|>", "<|inner_suffix|>"),),
    signs=("<|tools_prefix|>",),
)
"""Apertus: the name is the key of the arguments."""

APRIEL = Style(
    "apriel",
    begin=("<tool_calls>",),
    skip=("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
    after=("</tool_calls>",),
    wording=listed_json("<tool_calls>[", "]</tool_calls>"),
    thinking=(
        ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"), ("<thinking>", "</thinking>"),
    ),
    signs=("<tool_calls>[",),
)  # fmt: skip
"""Apriel 1.5 and 1.6."""

GIGACHAT = Style(
    "gigachat",
    begin=("<|function_call|>",),
    wording=Wording('{"name": "', '", "arguments": ', "}", "<|function_call|>", several=False),
    signs=("<|function_call|>",),
)
"""GigaChat 3.1."""

GIGACHAT_3 = Style(
    "gigachat-3",
    begin=("<|message_sep|>\n\nfunction call<|role_sep|>\n",),
    wording=Wording(
        '{"name": "', '", "arguments": ', "}",
        "<|message_sep|>\n\nfunction call<|role_sep|>\n", several=False,
    ),
    signs=("function call<|role_sep|>", "function call"),
    needs="<|role_sep|>",
)  # fmt: skip
"""GigaChat 3."""

STYLES = (
    HARMONY,
    KIMI,
    KIMI_3,
    GEMMA,
    DSML,
    SEED,
    MINIMAX,
    MINIMAX_3,
    MINICPM,
    GLM,
    QWEN_CODER,
    COMMAND_R,
    DEEPSEEK,
    DEEPSEEK_31,
    MISTRAL_ARGS,
    MISTRAL,
    FUNCTIONARY,
    INTERNLM,
    NEMOTRON,
    LFM,
    APERTUS,
    GIGACHAT,
    GIGACHAT_3,
    GRANITE,
    FUNCTOOLS,
    APRIEL,
    HERMES,
    FUNCTION_TAGS,
    LLAMA_4,
    OLMO,
    LLAMA,
    COMMAND_R_PLUS,
)
"""Those with the rarest signs first."""


def style_of(template: str) -> Style:
    """The style whose signs stand in a template; Hermes where none do."""
    for style in STYLES:
        if style.needs in template and any(sign in template for sign in style.signs):
            return style
    return HERMES


def told_style(family: Style) -> Style:
    """How a model calls that is told of tools in words; it may fall back to what it was taught."""
    if family.head is None or family.body != "json":
        return replace(HERMES, thinking=family.thinking)
    return replace(
        HERMES,
        name=f"told-{family.name}",
        begin=(*HERMES.begin, *family.begin),
        skip=family.skip,
        after=(*HERMES.after, *family.after),
        head=family.head,
        tokens=family.tokens,
        thinking=family.thinking,
    )
