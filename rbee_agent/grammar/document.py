"""One schema as a document: every part by its JSON Pointer, and what references point at."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from rbee_agent.grammar.shapes import Unenforceable

MAX_SCHEMAS = 5000
MAX_DEPTH = 64

MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords that hold schemas by name."""
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SINGLES = frozenset(
    {
        "additionalProperties", "propertyNames", "unevaluatedProperties", "items",
        "additionalItems", "unevaluatedItems", "contains", "not", "if", "then", "else",
    }
)  # fmt: skip
ENFORCED = (
    MAPS
    | LISTS
    | SINGLES
    | {
        "$ref", "type", "enum", "const", "required", "minProperties", "maxProperties",
        "dependentRequired", "dependencies", "minItems", "maxItems", "minContains", "maxContains",
        "uniqueItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    }
)  # fmt: skip
"""Keywords that are enforced, some of them not in every combination."""
ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "examples", "$schema", "$id", "$anchor", "$comment",
        "deprecated", "readOnly", "writeOnly", "discriminator",
    }
)  # fmt: skip
"""Keywords that say nothing about what is valid."""


NEVER = "!never"
"""Pointer of the schema that nothing fits."""


class Document:
    """A schema and all schemas in it."""

    def __init__(self, schema: Any) -> None:
        """Index the schema.

        Raises:
            Unenforceable: it is too large or too deep, or has keywords that are not known: all of
                them are in `unknown` then.
        """
        self._parts: dict[str, Any] = {}
        self._bases: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self.unknown: list[tuple[str, str]] = []
        """Pointers and names of keywords that nothing is known of."""
        self._parts[NEVER] = False
        self._index(schema, "", "", 0)

    def part(self, pointer: str) -> Any:
        """The schema at a pointer."""
        return self._parts[pointer]

    def derived(self, of: str, schema: dict[str, Any]) -> str:
        """The pointer of a schema that follows from the one at `of`; parts of it may be pointers.

        Derived schemas are equal when what they say is, so that recursion ends.
        """
        pointer = f"{of}!{sorted(schema.items())!r}"
        if pointer not in self._parts:
            if len(self._parts) > MAX_SCHEMAS:
                raise Unenforceable("", "the schema is too large")
            self._parts[pointer] = schema
            self._bases[pointer] = self._bases.get(of, "")
        return pointer

    def child(self, pointer: str, *keys: str | int) -> str:
        """The pointer of a schema inside the one at `pointer`."""
        inside = self._parts[pointer]
        for key in keys:
            inside = inside[key]
        if isinstance(inside, Pointer):
            return inside.to
        return "/".join((pointer, *(_escaped(str(key)) for key in keys)))

    def target(self, pointer: str, reference: Any) -> str:
        """The pointer of what a reference in the schema at `pointer` means.

        Raises:
            Unenforceable: it points out of the document, or nowhere.
        """
        if isinstance(reference, Pointer):
            return reference.to
        if not isinstance(reference, str):
            raise Unenforceable("$ref", "a reference is a text")
        uri, fragment = urldefrag(urljoin(self._bases[pointer], reference))
        if fragment and not fragment.startswith("/"):
            found = self._targets.get(f"{uri}#{unquote(fragment)}")
        else:
            root = self._targets.get(uri)
            found = None if root is None else root + unquote(fragment)
        if found is None or found not in self._parts:
            raise Unenforceable("$ref", "it points at no schema in this document")
        return found

    def _index(self, schema: Any, pointer: str, base: str, depth: int) -> None:
        if not isinstance(schema, bool | dict):
            raise Unenforceable("", "a schema is an object, true or false", pointer)
        if depth > MAX_DEPTH or len(self._parts) > MAX_SCHEMAS:
            raise Unenforceable("", "the schema is nested too deeply, or too large", pointer)
        self._parts[pointer] = schema
        self._bases[pointer] = base
        if not pointer:
            self._targets[base] = pointer
        if isinstance(schema, bool):
            return
        if isinstance(schema.get("$id"), str):
            base = urldefrag(urljoin(base, schema["$id"]))[0]
            self._bases[pointer] = base
            self._targets.setdefault(base, pointer)
        if isinstance(schema.get("$anchor"), str):
            self._targets[f"{base}#{schema['$anchor']}"] = pointer
        for key, value in schema.items():
            at = f"{pointer}/{_escaped(key)}"
            if key in MAPS and isinstance(value, dict):
                for name, part in value.items():
                    self._index(part, f"{at}/{_escaped(name)}", base, depth + 1)
            elif key == "dependencies" and isinstance(value, dict):
                for name, part in value.items():
                    if not isinstance(part, list):
                        self._index(part, f"{at}/{_escaped(name)}", base, depth + 1)
            elif (key in LISTS or key == "items") and isinstance(value, list):
                for place, part in enumerate(value):
                    self._index(part, f"{at}/{place}", base, depth + 1)
            elif key in SINGLES:
                self._index(value, at, base, depth + 1)
            elif key not in ENFORCED and key not in ANNOTATIONS and not key.startswith("x-"):
                self.unknown.append((at, key))


class Pointer:
    """Stands for a schema elsewhere in the document, inside a derived one."""

    def __init__(self, to: str) -> None:
        self.to = to

    def __repr__(self) -> str:
        return f"->{self.to}"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
