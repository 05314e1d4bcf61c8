"""Schemas and tools that nobody could enforce are refused where they come in, by name."""

from __future__ import annotations

from typing import Any

import pytest

_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            _schema({"properties": {"a/b": {"contentEncoding": "base64"}}}),
            "response_format.json_schema/properties/a~1b/contentEncoding",
        ),
        (_schema({"multipleOf": 0.1}), "response_format.json_schema/multipleOf"),
        (_schema({"pattern": "(?=a)"}), "response_format.json_schema/pattern"),
        (_schema({"type": "integer", "minimum": 2, "maximum": 1}), "response_format.json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "retrieval"}]}, "tools.0"),
        ({"tools": [_TOOL, _TOOL]}, "tools.1"),
        ({"tools": [_TOOL], "tool_choice": {"mode": "named", "name": "leap"}}, "tool_choice"),
        ({"tool_choice": {"mode": "required"}}, "tool_choice"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "look", "parameters": {"$ref": "http://x/y"}},
                    }
                ],
                "tool_choice": {"mode": "required"},
            },
            "tools.look.parameters/$ref",
        ),
        ({"prompt": "x", "messages": None, "tools": [_TOOL]}, "tools"),
        ({"grammar": "root ::= \"a\"", **_schema({"type": "string"})}, "grammar"),
    ],
)  # fmt: skip
async def test_what_cannot_be_enforced_is_refused_at_the_post(
    caller: Any, hive: Any, body: dict[str, Any], field: str
) -> None:
    """400 with the field's name; no task is made of it."""
    await caller.register(hive)
    request = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], **body}
    request = {name: value for name, value in request.items() if value is not None}

    reply = await caller.http.post("/v2/tasks", json=request)

    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["details"]["errors"][0]["field"]) == ("INVALID_PARAMS", field)
    assert (await caller.http.get("/v2/tasks")).json()["tasks"] == []
