"""The way in: a schema becomes a grammar, or is refused by the name of what cannot be enforced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbee_agent.errors import InvalidParams
from rbee_agent.grammar.document import Document
from rbee_agent.grammar.gbnf import Expr, Grammar, Lit, alt
from rbee_agent.grammar.letters import add_machine, plain
from rbee_agent.grammar.machines import TooLarge
from rbee_agent.grammar.patterns import UnreadablePattern, exactly
from rbee_agent.grammar.shapes import Unenforceable
from rbee_agent.grammar.writing import Writer


def schema_grammar(schema: Any, field: str = "json_schema") -> str:
    """The GBNF of all JSON texts that are valid under a schema; or a part of them, never others.

    Raises:
        InvalidParams: see `compile_schema`.
    """
    grammar = Grammar()
    grammar.rules["answer"] = compile_schema(schema, grammar, field=field, prefix="s")
    return grammar.text("answer")


def choice_grammar(texts: Sequence[str]) -> str:
    """The GBNF of these texts, of which an answer is one."""
    grammar = Grammar()
    grammar.rules["answer"] = alt(*map(Lit, texts))
    return grammar.text("answer")


def pattern_grammar(source: str, field: str) -> str:
    """The GBNF of all texts that are a pattern from start to end.

    Raises:
        InvalidParams: it holds what no grammar enforces, or is too complicated.
    """
    grammar = Grammar()
    try:
        grammar.rules["answer"] = add_machine(grammar, exactly(source), plain, "p")
    except UnreadablePattern as error:
        raise _refused(field, str(error)) from error
    except (TooLarge, RecursionError) as error:
        raise _refused(field, "the pattern is too complicated") from error
    return grammar.text("answer")


def compile_schema(schema: Any, grammar: Grammar, *, field: str, prefix: str) -> Expr:
    """Add the rules of a schema to a grammar, and return what stands for a value of it.

    Args:
        schema: JSON Schema 2020-12, with the older forms of `items` and `dependencies`.
        grammar: what the rules are added to.
        field: the request's field that holds the schema, for refusals.
        prefix: what the names of the rules begin with; one for each schema of a grammar.

    Raises:
        InvalidParams: a keyword cannot be enforced; its JSON Pointer stands behind `field`.
    """
    try:
        document = Document(schema)
        if document.unknown:
            raise InvalidParams(
                [
                    _violation(field + where, f"the keyword {key[:64]} cannot be enforced")
                    for where, key in document.unknown
                ]
            )
        value = Writer(document, grammar, prefix).value(("",))
        if not grammar.writes(value):
            raise _refused(field, "no value is valid under this schema")
        return value
    except Unenforceable as error:
        where = (error.where or "").partition("!")[0]
        at = f"{field}{where}/{error.keyword}" if error.keyword else f"{field}{where}"
        what = f"{error.keyword} cannot be enforced here: " if error.keyword else ""
        raise _refused(at, what + error.why) from error
    except RecursionError as error:
        raise _refused(field, "the schema is nested too deeply") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        # A keyword holds a value of a kind that it cannot hold.
        raise _refused(field, "this is no sound JSON Schema") from error


def _violation(field: str, message: str) -> dict[str, str]:
    return {"field": field, "constraint": "json_schema", "message": message}


def _refused(field: str, message: str) -> InvalidParams:
    return InvalidParams([_violation(field, message)])
