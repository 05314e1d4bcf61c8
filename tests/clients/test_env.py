"""With the exports of `rbee env` each official client works as it is made by default."""

from __future__ import annotations

import anthropic
import ollama
import openai
import pytest

from rbee_tui.cli.env import exports
from tests.clients.conftest import Served

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello"}]


def test_clients_without_arguments(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """They read the environment, and nothing else is told to them."""
    for name, value in exports(served.url, served.key).items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI() as one, anthropic.Anthropic() as two:
        first = one.chat.completions.create(model=served.model, messages=HELLO, max_tokens=2)
        second = two.messages.create(model=served.model, messages=HELLO, max_tokens=2)
    three = ollama.Client()
    third = three.chat(served.model, HELLO, options={"num_predict": 2})
    three._client.close()

    assert first.usage is not None
    assert first.usage.completion_tokens == 2
    assert second.usage.output_tokens == 2
    assert third.eval_count == 2
