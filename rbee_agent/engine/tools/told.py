"""Tools for models whose template knows none: told in the system turn, called as Hermes calls.

Calls and results that the conversation holds already are written the same way, so that the model
sees examples of what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_INTRODUCTION = """\
You may call functions. Their signatures, as JSON, one a line:
<tools>
{tools}
</tools>
To call a function, answer with nothing but a JSON object between <tool_call> tags, one for each \
call:
<tool_call>
{{"name": "the name", "arguments": {{"the": "arguments"}}}}
</tool_call>
What a function returns comes between <tool_response> tags."""


def needed(turns: Sequence[dict[str, Any]]) -> bool:
    """Whether a conversation holds calls or their results."""
    return any(turn["role"] == "tool" or turn.get("tool_calls") for turn in turns)


def in_system(
    turns: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """The conversation in system, user and assistant turns; the tools stand in the system turn."""
    plain = _plain(turns)
    if not tools:
        return plain
    words = _introduction(tools)
    if plain and plain[0]["role"] == "system":
        first = {**plain[0], "content": f"{plain[0]['content']}\n\n{words}"}
        return [first, *plain[1:]]
    return [{"role": "system", "content": words}, *plain]


def in_first_turn(
    turns: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """The same without a system turn: what it would say stands before the first user's words."""
    first, *rest = in_system(turns, tools) or [{"role": "user", "content": ""}]
    if first["role"] != "system" or not rest:
        return [first, *rest]
    words = f"{first['content']}\n\n{rest[0]['content']}"
    return [{**rest[0], "content": words}, *rest[1:]]


def _plain(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = []
    answering = False
    for turn in turns:
        if turn["role"] == "tool":
            text = f"<tool_response>\n{turn['content']}\n</tool_response>"
            if answering:
                plain[-1]["content"] += f"\n{text}"
            else:
                plain.append({"role": "user", "content": text})
        elif turn.get("tool_calls"):
            calls = [_call(call.get("function") or {}) for call in turn["tool_calls"]]
            text = "\n".join(part for part in (turn["content"], *calls) if part)
            plain.append({"role": "assistant", "content": text})
        else:
            plain.append(turn)
        answering = turn["role"] == "tool"
    return plain


def _call(function: dict[str, Any]) -> str:
    said = {"name": function.get("name"), "arguments": function.get("arguments") or {}}
    return f"<tool_call>\n{json.dumps(said, ensure_ascii=False)}\n</tool_call>"


def _introduction(tools: Sequence[dict[str, Any]]) -> str:
    lines = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools]
    return _INTRODUCTION.format(tools="\n".join(lines))
