"""The grammar of a response format."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.tasks import ResponseFormat
from rbee_agent.errors import InvalidParams
from rbee_agent.grammar import schema_grammar

JSON_OBJECT: dict[str, Any] = {"type": "object"}


def grammar_for(wanted: ResponseFormat | None) -> str | None:
    """The GBNF that enforces a response format; None for plain text.

    Raises:
        InvalidParams: the schema cannot be enforced; names the keyword and where it stands.
    """
    if wanted is None or wanted.type == "text":
        return None
    schema = JSON_OBJECT if wanted.type == "json_object" else wanted.json_schema
    if schema is None:
        raise InvalidParams(
            [
                {
                    "field": "json_schema",
                    "constraint": "json_schema",
                    "message": "json_schema needs a schema",
                }
            ]
        )
    return schema_grammar(schema)
