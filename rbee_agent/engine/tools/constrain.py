"""The grammar of answers that must be tool calls, in the family's own wording."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from rbee_agent.engine.schema import schema_grammar
from rbee_agent.engine.tools.offer import Tool
from rbee_agent.engine.tools.styles import Style

_MOST_CALLS = 16
"""Calls in one answer, at most: a small model would go on for ever."""
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[a-zA-Z][a-zA-Z0-9-]*')


def calls_grammar(style: Style, tools: Sequence[Tool], *, several: bool) -> str:
    """GBNF of one call or more to `tools`, with arguments that their parameters allow.

    Raises:
        InvalidParams: parameters hold a keyword that no grammar enforces; names it.
    """
    wording = style.wording
    rules: list[str] = []
    choices = []
    for place, tool in enumerate(tools):
        text = schema_grammar(tool.parameters, f"tools.{tool.name}.parameters")
        rules.append(_renamed(text, f"t{place}-"))
        name = json.dumps(tool.name)[1:-1]
        choices.append(f"{_quoted(wording.before + name + wording.between)} t{place}-root")
    calls = "call"
    if several and wording.several:
        calls = f"call ({_quoted(wording.separator)} call){{0,{_MOST_CALLS - 1}}}"
    rules.insert(0, f"root ::= {_quoted(wording.open)} {calls} {_quoted(wording.close)}")
    rules.insert(1, f"call ::= ({' | '.join(choices)}) {_quoted(wording.after)}")
    return "\n".join(rules)


def _renamed(grammar: str, prefix: str) -> str:
    def put(match: re.Match[str]) -> str:
        word = match[0]
        return word if word[0] in '"[' else prefix + word

    return _TOKEN.sub(put, grammar)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
