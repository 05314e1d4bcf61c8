"""The official `ollama` client, unmodified, on a real queen and worker."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import ollama
import pytest

from rbee_agent.client import SyncQueenClient
from rbee_agent.contracts.tasks import TaskRequest
from tests.clients.conftest import Served

pytestmark = pytest.mark.model

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
EXACT = {"temperature": 0, "num_predict": 16}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(served: Served) -> Iterator[ollama.Client]:
    """A client that has been told nothing but the queen's address and a key."""
    made = ollama.Client(host=served.url, headers={"Authorization": f"Bearer {served.key}"})
    with closing(made._client):
        yield made


def ours(served: Served, **fields: Any) -> str:
    """What /v2 answers at temperature 0."""
    request = TaskRequest.model_validate(
        {"model": served.model, "max_tokens": 16, "temperature": 0, **fields}
    )
    with SyncQueenClient(served.url, served.key) as queen:
        return queen.run(request, timeout=60).text


def test_a_chat_says_what_v2_says(served: Served, client: ollama.Client) -> None:
    """One conversation at temperature 0 gets one answer, streamed or not, whichever API asks."""
    whole = client.chat(served.model, SKY, options=EXACT)
    parts = list(client.chat(served.model, SKY, options=EXACT, stream=True))

    assert whole.message.content == ours(served, workload="chat", messages=SKY)
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert (whole.done_reason, whole.eval_count) == ("length", 16)
    assert parts[-1].eval_count == 16


def test_a_raw_prompt_says_what_v2_says(served: Served, client: ollama.Client) -> None:
    """Without a template it is a completion."""
    said = client.generate(served.model, "Once upon a time", raw=True, options=EXACT)

    assert said.response == ours(served, prompt="Once upon a time")


def test_generate_is_a_chat_of_one_turn(served: Served, client: ollama.Client) -> None:
    """The prompt goes through the model's template, as at Ollama."""
    said = client.generate(served.model, SKY[0]["content"], options=EXACT)

    assert said.response == ours(served, workload="chat", messages=SKY)


def test_a_schema_holds(served: Served, client: ollama.Client) -> None:
    """`format` is a grammar: the answer is JSON of that shape."""
    schema = {
        "type": "object",
        "properties": {"sky": {"enum": ["blue", "grey"]}},
        "required": ["sky"],
        "additionalProperties": False,
    }
    said = client.chat(served.model, SKY, format=schema, options=EXACT)

    assert json.loads(said.message.content or "")["sky"] in ("blue", "grey")


def test_tools_are_offered(served: Served, client: ollama.Client) -> None:
    """A conversation with tools and a result is answered; calls, if any, parse."""
    said = client.chat(
        served.model,
        [
            *SKY,
            {
                "role": "assistant",
                "tool_calls": [
                    {"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}
                ],
            },
            {"role": "tool", "tool_name": "get_weather", "content": "14 degrees"},
        ],
        tools=[WEATHER],
        options=EXACT,
    )

    assert said.message.content or said.message.tool_calls


def test_embeddings_of_an_encoder(client: ollama.Client, encoder: str) -> None:
    """It is loaded for it; one text or several, by the newer route and the older."""
    found = client.embed(encoder, ["a bee", "a tree", "a bee"])
    one, other, again = found.embeddings
    older = client.embeddings(encoder, "a tree")

    assert len(one) == 64
    assert one == again
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-3)
    assert math.dist(one, other) > 1e-3
    assert list(older.embedding) == pytest.approx(list(other), abs=1e-6)
    assert (found.prompt_eval_count or 0) > 6
    with pytest.raises(ollama.ResponseError, match="context"):
        client.embed(encoder, "x" * 1000)


def test_thinking_of_a_model_that_does_not(served: Served, client: ollama.Client) -> None:
    """Asked to think it is refused, as at Ollama; asked not to, it answers."""
    for think in (True, "high"):
        with pytest.raises(ollama.ResponseError, match="does not think"):
            client.chat(served.model, SKY, think=think, options=EXACT)  # type: ignore[call-overload]
    said = client.chat(served.model, SKY, think=False, options=EXACT)

    assert said.message.content
    assert said.message.thinking is None


def test_what_models_there_are(served: Served, client: ollama.Client) -> None:
    """Listed, loaded, and shown with the template of its file."""
    assert served.model in [model.model for model in client.list().models]
    assert served.model in [model.model for model in client.ps().models]
    shown = client.show(served.model)
    assert "<|im_start|>" in (shown.template or "")
    assert shown.details is not None
    assert shown.details.family == "llama"
    assert (shown.modelinfo or {})["general.architecture"] == "llama"


def test_an_empty_prompt_finds_the_model_loaded(served: Served, client: ollama.Client) -> None:
    """Nothing is generated."""
    said = client.generate(served.model)

    assert (said.done_reason, said.response, said.eval_count) == ("load", "", None)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "no-such-model"}, 404, "no model of that name"),
        ({"options": {"num_gpu": 1}}, 400, "options.num_gpu"),
        ({"options": {"num_ctx": 10**7}}, 400, "options.num_ctx"),
        ({"messages": [{"role": "user", "content": "bee " * 20_000}]}, 400, "context"),
    ],
    ids=str,
)
def test_refusals_are_the_clients_own_errors(
    served: Served, client: ollama.Client, change: dict[str, Any], status: int, words: str
) -> None:
    """Each with its status, and what is wrong."""
    with pytest.raises(ollama.ResponseError, match=words) as caught:
        client.chat(**{"model": served.model, "messages": SKY, **change})

    assert caught.value.status_code == status


def test_leaving_a_stream_cancels_its_task(served: Served, client: ollama.Client) -> None:
    """Nobody reads: nothing more is generated."""
    stream = client.chat(served.model, SKY, options={"num_predict": 400}, stream=True)
    with SyncQueenClient(served.url, served.key) as queen:
        next(stream)
        (job,) = [task.job_id for task in queen.tasks(state="running")]
        stream.close()  # type: ignore[attr-defined]
        frames = [event.event for event in queen.task_events(job)]
        state = queen.task(job).state

    assert frames[-1] == "error"
    assert state == "cancelled"
