"""One conversation, five APIs: at temperature 0 they all say the same."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from rbee_agent.wire.sse import SseDecoder
from tests.clients.conftest import Served

pytestmark = pytest.mark.model

ASK = [{"role": "user", "content": "Why is the sky blue?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASK, "max_tokens": 16, "temperature": 0},
    "/v1/responses": {"input": ASK, "max_output_tokens": 16, "temperature": 0},
    "/v1/messages": {"messages": ASK, "max_tokens": 16, "temperature": 0},
    "/api/chat": {"messages": ASK, "options": {"temperature": 0, "num_predict": 16}},
}


def v2_text(http: httpx.Client, **body: Any) -> str:
    """What a task of /v2 says."""
    accepted = http.post("/v2/tasks", json=body).json()
    events = SseDecoder().feed(http.get(accepted["streams"]["sse"]).content)
    frames = [json.loads(event.data) for event in events if event.event == "token"]
    return "".join(token["t"] for frame in frames for token in frame.get("batch", [frame]))


def text_in(path: str, said: dict[str, Any]) -> str:
    """Where each API has its text."""
    if path == "/v1/chat/completions":
        found = said["choices"][0]["message"]["content"]
    elif path == "/v1/responses":
        found = said["output"][0]["content"][0]["text"]
    elif path == "/v1/messages":
        found = said["content"][0]["text"]
    else:
        found = said["message"]["content"]
    assert isinstance(found, str)
    return found


def test_five_apis_say_the_same(served: Served) -> None:
    """The prompt, the sampling and the text are one, whoever asks how."""
    headers = {"Authorization": f"Bearer {served.key}", "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=60.0) as http:
        expected = v2_text(
            http,
            model=served.model,
            workload="chat",
            messages=ASK,
            max_tokens=16,
            temperature=0,
        )
        plain = {"model": served.model, "stream": False}
        said = {
            path: text_in(path, http.post(path, json={**body, **plain}).json())
            for path, body in BODIES.items()
        }

    assert expected
    assert said == dict.fromkeys(BODIES, expected)
