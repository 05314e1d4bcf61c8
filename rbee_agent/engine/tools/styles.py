"""How model families write tool calls and thoughts, and which family a template means.

A record serves both ways: its marks tell the parser where a call begins, its wording tells the
grammar how a call must be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Wording:
    """The text around a call's name and arguments, for answers that must be calls."""

    before: str
    between: str
    after: str = ""
    open: str = ""
    """Before the first call."""
    separator: str = "\n"
    close: str = ""
    """Behind the last call."""
    several: bool = True
    """Whether the family writes more than one call in an answer."""


@dataclass(frozen=True, slots=True)
class Style:
    """One family's way."""

    name: str
    begin: tuple[str, ...]
    """What stands before a call."""
    wording: Wording
    head: re.Pattern[str] | None = None
    """How a name is written that stands before its arguments' brace; None: JSON only."""
    skip: tuple[str, ...] = ()
    """Marks that are dropped wherever they stand."""
    after: tuple[str, ...] = ()
    """Marks that are dropped once there was a call."""
    bare: bool = False
    """Whether an answer that begins with ``{`` may be a call without any mark."""
    thinking: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    before_text: str = ""
    """What the family writes before an answer in words, where that must not be left out."""
    body: Literal["json", "tags", "pairs", "python", "recipients", "channels"] = "json"
    """What may stand behind the mark, beside JSON and a `head`."""
    signs: tuple[str, ...] = ()
    """What in a template tells this family: any of these."""
    needs: str = ""
    """What must stand in the template too."""
    tokens: tuple[str, ...] = ()
    """Control tokens, beside the marks, that the parser must see."""
    short_ids: bool = False
    """Whether the template wants call ids of nine letters and digits."""

    @property
    def thoughts(self) -> tuple[tuple[str, str], ...]:
        """What stands before and behind a thought, as a grammar must write it."""
        if self.body == "channels":
            return (("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),)
        return self.thinking

    def shows(self, token: str) -> bool:
        """Whether a control token, by its name, is a mark or a part of one."""
        thoughts = [mark for pair in self.thinking for mark in pair]
        marks = (*self.begin, *self.skip, *self.after, *self.tokens, *thoughts)
        return bool(token) and any(token in mark for mark in marks)


_HERMES_WORDING = Wording('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>")

HERMES = Style(
    "hermes",
    begin=("<tool_call>",),
    after=("</tool_call>",),
    wording=_HERMES_WORDING,
    signs=("<tool_call>",),
)
"""Hermes, Qwen 2.5 and 3, and every model whose template knows no tools."""

QWEN_CODER = Style(
    "qwen-coder",
    begin=("<tool_call>", "<function="),
    after=("</tool_call>", "</function>"),
    # Asked for a call under a grammar it writes JSON: its own form holds arguments as bare text.
    wording=_HERMES_WORDING,
    body="tags",
    signs=("<function=example_function_name>", "<parameter="),
)
"""Qwen 3 Coder and Nemotron 3: a tag for each argument."""

GLM = Style(
    "glm",
    begin=("<tool_call>",),
    after=("</tool_call>",),
    wording=_HERMES_WORDING,
    body="pairs",
    signs=("<arg_key>",),
)
"""GLM 4.5 and later."""

LLAMA = Style(
    "llama",
    begin=("<|python_tag|>",),
    wording=Wording('{"name": "', '", "parameters": ', "}", several=False),
    bare=True,
    body="python",
    signs=("<|python_tag|>", '"parameters": dictionary'),
)
"""Llama 3.1 to 3.3: bare JSON, or code behind a tag."""

MISTRAL = Style(
    "mistral",
    begin=("[TOOL_CALLS]",),
    wording=Wording('{"name": "', '", "arguments": ', "}", "[TOOL_CALLS][", ", ", "]"),
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
    begin=("Action: ```json", "Action:```json"),
    after=("```",),
    wording=Wording(
        '{"tool_name": "', '", "parameters": ', "}", "Action: ```json\n[", ", ", "]\n```"
    ),
    signs=("Action: ```json", "Action:```json"),
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
    wording=Wording('{"name": "', '", "arguments": ', "}", "<|tool_call|>[", ", ", "]"),
    signs=("<|tool_call|>",),
)
"""Granite 3, and Phi 4 mini, which closes its list with a mark."""

FUNCTOOLS = Style(
    "functools",
    begin=("functools",),
    wording=Wording('{"name": "', '", "arguments": ', "}", "functools[", ", ", "]"),
    signs=("functools[",),
)
"""FireFunction, and Phi 4 mini as it was first described."""

HARMONY = Style(
    "harmony",
    begin=("<|channel|>",),
    skip=("<|start|>assistant", "<|end|>", "<|return|>", "<|call|>"),
    wording=Wording(
        "<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", several=False
    ),
    head=re.compile(
        r"(?P<channel>analysis|commentary|final)?\s*"
        r"(to=functions\.(?P<name>[\w.-]+))?\s*(<\|constrain\|>\w+)?\s*"
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
    signs=("<|tool_calls_section_begin|>",),
)  # fmt: skip
"""Kimi K2."""

NEMOTRON = Style(
    "nemotron",
    begin=("<TOOLCALL>",),
    after=("</TOOLCALL>",),
    wording=Wording('{"name": "', '", "arguments": ', "}", "<TOOLCALL>[", ", ", "]</TOOLCALL>"),
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

STYLES = (
    HARMONY,
    KIMI,
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
    GRANITE,
    FUNCTOOLS,
    HERMES,
    FUNCTION_TAGS,
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
