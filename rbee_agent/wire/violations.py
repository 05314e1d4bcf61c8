"""pydantic's complaints as the contract's ``errors``: every violation, and never a value."""

from __future__ import annotations

from pydantic import ValidationError

from rbee_agent.errors import InvalidParams

_MAX = 50


def invalid_params(error: ValidationError) -> InvalidParams:
    """All violations of a request as one error that echoes nothing of what was sent."""
    found = [
        {
            "field": ".".join(str(part) for part in item["loc"]) or "body",
            "constraint": item["type"],
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return InvalidParams(found[:_MAX])
