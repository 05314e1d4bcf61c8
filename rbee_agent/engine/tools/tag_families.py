"""The families whose models write each argument between tags, as bare text.

Asked for a call under a grammar they write JSON: their own form cannot be held to a schema.
"""

from __future__ import annotations

from rbee_agent.engine.tools.nested import MARK
from rbee_agent.engine.tools.styles import HERMES_WORDING, Markup, Style, named_json

_FUNCTION_TAGS = Markup("<function=", "</function>", "<parameter=", "</parameter>")

QWEN_CODER = Style(
    "qwen-coder",
    begin=("<tool_call>", "<function="),
    after=("</tool_call>", "</function>"),
    wording=HERMES_WORDING,
    body="tags",
    markup=_FUNCTION_TAGS,
    calls_end_thoughts=True,
    signs=("<parameter=",),
)
"""Qwen 3 Coder, Qwen 3.5, Nemotron 3 and Step 3.5: a tag for each argument."""

SEED = Style(
    "seed",
    begin=("<seed:tool_call>", "<function="),
    after=("</seed:tool_call>", "</function>"),
    wording=named_json("<seed:tool_call>\n", "\n</seed:tool_call>"),
    body="tags",
    markup=_FUNCTION_TAGS,
    thinking=(("<seed:think>", "</seed:think>"),),
    signs=("<seed:tool_call>",),
)
"""Seed-OSS."""

MINIMAX = Style(
    "minimax",
    begin=("<minimax:tool_call>", '<invoke name="'),
    after=("</minimax:tool_call>",),
    wording=named_json("<minimax:tool_call>\n", "\n</minimax:tool_call>"),
    body="tags",
    markup=Markup('<invoke name="', "</invoke>", '<parameter name="', "</parameter>"),
    signs=("<minimax:tool_call>",),
)
"""MiniMax M2."""

MINIMAX_3 = Style(
    "minimax-3",
    begin=(f"{MARK}<tool_call>", f'{MARK}<invoke name="'),
    after=(f"{MARK}</tool_call>",),
    wording=named_json(f"{MARK}<tool_call>\n", f"\n{MARK}</tool_call>"),
    body="nested",
    thinking=(("<mm:think>", "</mm:think>"),),
    tokens=(f"{MARK}</invoke>",),
    signs=("]<]minimax[>[",),
)
"""MiniMax M3: each argument is a tag of its own, with tags inside."""

DSML = Style(
    "dsml",
    begin=("<｜DSML｜function_calls>", "<｜DSML｜tool_calls>", '<｜DSML｜invoke name="'),
    after=("</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"),
    wording=named_json("<｜DSML｜function_calls>\n", "\n</｜DSML｜function_calls>"),
    body="tags",
    markup=Markup(
        '<｜DSML｜invoke name="', "</｜DSML｜invoke>",
        '<｜DSML｜parameter name="', "</｜DSML｜parameter>",
    ),
    calls_end_thoughts=True,
    signs=("｜DSML｜",),
)  # fmt: skip
"""DeepSeek V3.2 and V4."""

MINICPM = Style(
    "minicpm",
    begin=('<function name="', "<tool_call>"),
    after=("</tool_call>",),
    wording=HERMES_WORDING,
    body="tags",
    markup=Markup('<function name="', "</function>", '<param name="', "</param>"),
    signs=('<param name="', '<param name=\\"'),
)
"""MiniCPM 5."""

KIMI_3 = Style(
    "kimi-3",
    begin=("<|open|>tools<|sep|>", '<|open|>call tool="'),
    skip=(
        "<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>",
    ),
    after=("<|close|>tools<|sep|>",),
    wording=named_json("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),
    body="tags",
    markup=Markup(
        '<|open|>call tool="', "<|close|>call<|sep|>",
        '<|open|>argument key="', "<|close|>argument<|sep|>", "<|sep|>",
    ),
    thinking=(("<|open|>think<|sep|>", "<|close|>think<|sep|>"),),
    signs=("<|open|>", "'argument', [('key'"),
)  # fmt: skip
"""Kimi K3."""

GLM = Style(
    "glm",
    begin=("<tool_call>",),
    after=("</tool_call>",),
    wording=HERMES_WORDING,
    body="pairs",
    calls_end_thoughts=True,
    signs=("<arg_key>",),
)
"""GLM 4.5 and later."""
