"""What is done with each field of an API: supported, or refused by name, never ignored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from rbee_agent.contracts.base import Contract
from rbee_agent.errors import InvalidParams
from rbee_agent.wire.violations import invalid_params

BodyT = TypeVar("BodyT", bound=Contract)


@dataclass(frozen=True, slots=True)
class No:
    """A field that is refused, and why; `but` are the values that ask for what is done anyway."""

    why: str
    but: tuple[Any, ...] = ()


def read_body(
    kind: type[BodyT], refused: dict[str, No], body: dict[str, Any], *, api: str = "OpenAI"
) -> BodyT:
    """A request's body as its type.

    Null stands for a field that was not given.

    Raises:
        InvalidParams: every violation at once, refused and unknown fields among them.
    """
    given = {name: value for name, value in body.items() if value is not None}
    violations = []
    for name in list(given):
        if name in refused:
            value = given.pop(name)
            if not any(type(value) is type(one) and value == one for one in refused[name].but):
                violations.append(_violation(name, f"is not supported: {refused[name].why}"))
        elif name not in kind.model_fields:
            del given[name]
            violations.append(_violation(name, f"there is no such field, here or at {api}"))
    try:
        read = kind.model_validate(given)
    except ValidationError as error:
        raise InvalidParams([*violations, *invalid_params(error).errors]) from error
    if violations:
        raise InvalidParams(violations)
    return read


def table(kind: type[Contract], refused: dict[str, No]) -> str:
    """The fields as Markdown rows, for the documentation."""
    rows = {name: ("yes", field.description or "") for name, field in kind.model_fields.items()}
    for name, no in refused.items():
        but = ", ".join(f"`{json.dumps(one)}`" for one in no.but)
        rows[name] = (f"only {but}" if but else "refused", no.why)
    lines = [f"| `{name}` | {rows[name][0]} | {rows[name][1]} |" for name in sorted(rows)]
    return "\n".join(["| field | | |", "|---|---|---|", *lines])


def _violation(field: str, message: str) -> dict[str, str]:
    return {"field": field, "constraint": "unsupported", "message": message}
