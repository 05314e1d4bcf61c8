"""The grammar of answers that must be tool calls, in the family's own wording."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rbee_agent.engine.tools.styles import Style
from rbee_agent.grammar import Grammar, compile_schema
from rbee_agent.grammar.gbnf import Chars, Lit, Ref, alt, rep, seq
from rbee_agent.grammar.offer import Tool
from rbee_agent.grammar.wanted import JSON_OBJECT, arguments_field

MOST_CALLS = 16
"""Calls in one answer, at most: a small model would go on for ever."""


def rest_of_call(tool: Tool, before: str) -> str:
    """The GBNF of what follows a call's name: arguments that are JSON, then anything.

    They are valid under the tool's parameters where it is strict, else an object of any kind.

    Args:
        tool: what is called.
        before: what the token that begins the arguments holds before their brace.
    """
    grammar = Grammar()
    schema = tool.arguments if tool.strict else JSON_OBJECT
    arguments = compile_schema(schema, grammar, field=arguments_field(tool), prefix="a")
    grammar.rules["answer"] = seq(Lit(before), arguments, rep(Chars("[^\\x00]"), 0, None))
    return grammar.text("answer")


def add_calls(grammar: Grammar, style: Style, tools: Sequence[Tool], *, several: bool) -> Ref:
    """Add the rules of one call or more to a grammar; returns what stands for them.

    Raises:
        InvalidParams: parameters hold a keyword that no grammar enforces; names it.
    """
    wording = style.wording
    choices = []
    for place, tool in enumerate(tools):
        arguments = compile_schema(
            tool.arguments, grammar, field=arguments_field(tool), prefix=f"t{place}x"
        )
        head = wording.before + json.dumps(tool.name)[1:-1] + wording.between
        choices.append(seq(Lit(head), arguments, Lit(wording.after)))
    grammar.rules["call"] = alt(*choices)
    more = seq(Lit(wording.separator), Ref("call"))
    most = MOST_CALLS - 1 if several and wording.several else 0
    grammar.rules["calls"] = seq(
        Lit(wording.open), Ref("call"), rep(more, 0, most), Lit(wording.close)
    )
    return Ref("calls")
