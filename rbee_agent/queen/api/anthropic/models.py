"""Models as Anthropic's clients list them: the same route as OpenAI's, told apart by a header."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

VERSION_HEADER = "anthropic-version"
"""Only Anthropic's clients send it."""


def shown(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of OpenAI's list with Anthropic's fields beside it."""
    return entry | {
        "type": "model",
        "display_name": entry["id"],
        "created_at": datetime.fromtimestamp(entry["created"], UTC).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": entry.get("context", entry.get("context_trained")),
    }


def page(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """All of them on one page."""
    data = [shown(entry) for entry in entries]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return {"data": data, "has_more": False, **ends}
