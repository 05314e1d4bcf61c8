"""JSON Schema to a grammar, refusing by name what a grammar cannot enforce.

llama-cpp-python's converter turns schemas into GBNF but passes over keywords it does not know; a
keyword that is passed over would be a promise broken, so schemas are checked first.
"""

from __future__ import annotations

import json
from typing import Any

from rbee_agent.contracts.tasks import ResponseFormat
from rbee_agent.errors import InvalidParams

_ENFORCED = frozenset(
    {
        "type", "properties", "required", "additionalProperties", "items", "prefixItems",
        "minItems", "maxItems", "minLength", "maxLength", "enum", "const", "oneOf", "anyOf",
        "$ref", "$defs", "definitions", "format", "pattern",
    }
)  # fmt: skip
_ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated",
        "readOnly", "writeOnly", "name", "strict",
    }
)  # fmt: skip
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("oneOf", "anyOf", "prefixItems")
_FORMATS = frozenset({"date", "time", "date-time", "uuid"})
_MAX_DEPTH = 64

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
        raise _refused("json_schema", "json_schema needs a schema")
    return schema_grammar(schema, "json_schema")


def schema_grammar(schema: dict[str, Any], field: str) -> str:
    """The GBNF that enforces a schema.

    Raises:
        InvalidParams: it cannot be enforced; names the keyword and where it stands below `field`.
    """
    _check(schema, field, 0)
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        grammar: str = json_schema_to_gbnf(json.dumps(schema))
    except Exception as error:
        # The converter raises bare exceptions of many kinds for schemas it cannot read.
        raise _refused(field, f"the schema cannot be enforced: {error}") from error
    return grammar


def _check(schema: Any, where: str, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _refused(where, "a schema is an object")
    if depth > _MAX_DEPTH:
        raise _refused(where, "the schema is nested too deeply")
    for key, value in schema.items():
        if key in _ANNOTATIONS:
            continue
        if key not in _ENFORCED:
            raise _refused(f"{where}.{key}", f"the keyword {key} cannot be enforced")
        if key == "format" and value not in _FORMATS:
            raise _refused(f"{where}.format", f"the format {value} cannot be enforced")
        _descend(key, value, f"{where}.{key}", depth + 1)


def _descend(key: str, value: Any, where: str, depth: int) -> None:
    if key in _MAPS and isinstance(value, dict):
        for name, part in value.items():
            _check(part, f"{where}.{name}", depth)
    elif key in _LISTS and isinstance(value, list):
        for index, part in enumerate(value):
            _check(part, f"{where}.{index}", depth)
    elif key in ("items", "additionalProperties"):
        _check(value, where, depth)


def _refused(field: str, message: str) -> InvalidParams:
    return InvalidParams([{"field": field, "constraint": "json_schema", "message": message}])
