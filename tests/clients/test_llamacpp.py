"""llama.cpp's own routes on a real queen and worker, and one raw prompt through every API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rbee_agent.client import SyncQueenClient
from rbee_agent.contracts.tasks import TaskRequest
from tests.clients.conftest import Served

pytestmark = pytest.mark.model

TEXT = "Grüße, 🐝! The bees are \u200bbusy."


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """Plain HTTP, as scripts for llama.cpp's server use it."""
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as made:
        yield made


def test_tokens_there_and_back(http: httpx.Client, served: Served) -> None:
    """Text of several bytes a character survives, and its pieces are its bytes."""
    ids = http.post("/tokenize", json={"model": served.model, "content": TEXT}).json()["tokens"]
    pieces = http.post(
        "/tokenize", json={"model": served.model, "content": TEXT, "with_pieces": True}
    ).json()["tokens"]
    back = http.post("/detokenize", json={"model": served.model, "tokens": ids}).json()["content"]

    assert back == TEXT
    assert [one["id"] for one in pieces] == ids
    whole = b"".join(
        one["piece"].encode() if isinstance(one["piece"], str) else bytes(one["piece"])
        for one in pieces
    )
    assert whole.decode() == TEXT


def test_a_templated_prompt_is_what_a_chat_reads(http: httpx.Client, served: Served) -> None:
    """The template's text through /completion is the chat's answer, and as many tokens."""
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    prompt = http.post(
        "/apply-template", json={"model": served.model, "messages": messages}
    ).json()["prompt"]
    props = http.get("/props", params={"model": served.model}).json()

    assert "<|im_start|>user\nWhy is the sky blue?<|im_end|>" in prompt
    assert "<|im_start|>" in props["chat_template"]
    assert props["total_slots"] >= 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": "Once", "n_predict": 2}),
        ("/api/generate", {"prompt": "Once", "stream": False, "options": {"num_predict": 2}}),
    ],
)
def test_curl_needs_no_content_type(
    http: httpx.Client, served: Served, path: str, body: dict[str, Any]
) -> None:
    """As in the examples of both projects; a web page is refused all the same."""
    sent = json.dumps({**body, "model": served.model})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = {**form, "Origin": "http://evil.example"}

    assert http.post(path, content=sent, headers=form).status_code == 200
    assert http.post(path, content=sent, headers=page).status_code == 403


def test_variables_of_a_template(http: httpx.Client, served: Served) -> None:
    """Those that it does not know are refused by name."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": served.model, "messages": messages}
    plain = http.post("/apply-template", json=body).json()
    off = http.post(
        "/apply-template", json={**body, "chat_template_kwargs": {"enable_thinking": False}}
    ).json()
    refused = http.post("/apply-template", json={**body, "chat_template_kwargs": {"colour": 1}})

    assert plain == off
    assert refused.status_code == 400
    assert "'colour'" in refused.text


def test_a_completion_has_timings(http: httpx.Client, served: Served) -> None:
    """Streamed and whole are the same text; the figures are measured ones."""
    body = {"model": served.model, "prompt": "Once upon a time", "n_predict": 12, "temperature": 0}
    whole = http.post("/completion", json=body).json()
    streamed = http.post("/completion", json={**body, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]

    assert "".join(chunk["content"] for chunk in chunks) == whole["content"]
    assert whole["timings"]["predicted_n"] == 12
    assert whole["timings"]["predicted_ms"] > 0
    assert chunks[-1]["stop"] is True


def test_a_cached_prompt_is_not_read_again(http: httpx.Client, served: Served) -> None:
    """`cache_prompt` finds what was read before; `false` reads it anew."""
    prompt = "In a garden far away " * 20
    body = {"model": served.model, "prompt": prompt, "n_predict": 2, "temperature": 0}
    http.post("/completion", json=body)
    warm = http.post("/completion", json=body).json()["timings"]
    cold = http.post("/completion", json={**body, "cache_prompt": False}).json()["timings"]

    assert warm["cache_n"] > 50
    assert cold["cache_n"] == 0
    assert cold["prompt_n"] == warm["cache_n"] + warm["prompt_n"]


def test_a_stop_string_is_named(http: httpx.Client, served: Served) -> None:
    """What ended the text is said, and is not a part of it."""
    body = {"model": served.model, "prompt": "Once upon a time", "n_predict": 24, "temperature": 0}
    text = http.post("/completion", json=body).json()["content"]
    word = text.split()[4]
    said = http.post("/completion", json={**body, "stop": ["never said", word]}).json()

    assert (said["stop_type"], said["stopping_word"]) == ("word", word)
    assert said["content"] == text[: text.index(word)]


def test_one_prompt_through_every_api_is_one_text(http: httpx.Client, served: Served) -> None:
    """At temperature 0 /v2, /v1, /completion and /api say the same behind the same prompt."""
    prompt, limit = "The three primary colours are", 16
    with SyncQueenClient(served.url, served.key) as queen:
        request = TaskRequest(model=served.model, prompt=prompt, max_tokens=limit, temperature=0)
        ours = queen.run(request, timeout=60).text
    v1 = {"model": served.model, "prompt": prompt, "max_tokens": limit, "temperature": 0}
    llama = {"model": served.model, "prompt": prompt, "n_predict": limit, "temperature": 0}
    api = {
        "model": served.model,
        "prompt": prompt,
        "raw": True,
        "stream": False,
        "options": {"num_predict": limit, "temperature": 0},
    }

    assert {
        "v1": http.post("/v1/completions", json=v1).json()["choices"][0]["text"],
        "llama.cpp": http.post("/completion", json=llama).json()["content"],
        "api": http.post("/api/generate", json=api).json()["response"],
    } == {"v1": ours, "llama.cpp": ours, "api": ours}
