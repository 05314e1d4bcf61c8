"""Every field of the OpenAI API is supported or refused by name; the table in the docs says so."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

import pytest
from openai.resources import chat, completions, embeddings, responses
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from rbee_agent.contracts.base import Contract
from rbee_agent.errors import InvalidParams
from rbee_agent.queen.api import fields
from rbee_agent.queen.api.openai import chat_body, responses_body
from rbee_agent.queen.api.openai import completions as completion_room
from rbee_agent.queen.api.openai import embeddings as embedding_room
from rbee_agent.queen.api.openai.elsewhere import CHAT_ELSEWHERE

DOCS = Path(__file__).parents[3] / "docs/openai.md"
ROUTES = {
    "/v1/chat/completions": (
        chat_body.ChatBody,
        chat_body.REFUSED,
        [
            chat_create_params.CompletionCreateParamsNonStreaming,
            chat_create_params.CompletionCreateParamsStreaming,
        ],
        chat.AsyncCompletions.create,
    ),
    "/v1/completions": (
        completion_room.CompletionBody,
        completion_room.REFUSED,
        [
            completion_create_params.CompletionCreateParamsNonStreaming,
            completion_create_params.CompletionCreateParamsStreaming,
        ],
        completions.AsyncCompletions.create,
    ),
    "/v1/embeddings": (
        embedding_room.EmbeddingBody,
        embedding_room.REFUSED,
        [embedding_create_params.EmbeddingCreateParams],
        embeddings.AsyncEmbeddings.create,
    ),
    "/v1/responses": (
        responses_body.ResponsesBody,
        responses_body.REFUSED,
        [
            response_create_params.ResponseCreateParamsNonStreaming,
            response_create_params.ResponseCreateParamsStreaming,
        ],
        responses.AsyncResponses.create,
    ),
}
_OF_THE_CLIENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


@pytest.mark.parametrize("route", ROUTES)
def test_no_field_of_the_package_is_unknown(route):
    """What the `openai` package can send is supported or refused by name, and nothing is both."""
    kind, refused, types, create = ROUTES[route]
    theirs = {name for one in types for name in typing.get_type_hints(one)}
    theirs |= set(inspect.signature(create).parameters) - _OF_THE_CLIENT
    supported = set(kind.model_fields)
    assert theirs - supported - refused.keys() == set()
    assert supported & refused.keys() == set()
    gone = refused.keys() - theirs - CHAT_ELSEWHERE.keys()
    assert gone == set(), "refused, but nobody sends it any more"


@pytest.mark.parametrize("route", ROUTES)
def test_the_table_in_the_docs_is_the_one_of_the_code(route):
    """docs/openai.md holds the table of each route, as the code has it."""
    kind, refused, _, _ = ROUTES[route]
    assert fields.table(kind, refused) in DOCS.read_text()


@pytest.mark.parametrize(
    ("route", "name"), [(route, name) for route in ROUTES for name in ROUTES[route][1]]
)
async def test_a_refused_field_is_named(caller, route, name):
    """400 with the name of the field as its param; null stands for not given."""
    kind, refused, _, _ = ROUTES[route]
    body = {**valid(kind), name: {"any": "value"}}
    reply = await caller.http.post(route, json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == name
    assert refused[name].why in error["message"]
    assert "any" not in error["message"]
    for harmless in (None, *refused[name].but):
        fields.read_body(kind, refused, {**body, name: harmless})


@pytest.mark.parametrize("route", ROUTES)
async def test_every_violation_is_told(caller, route):
    """Refused, unknown and impossible fields all stand in one message; no value is echoed."""
    kind, refused, _, _ = ROUTES[route]
    body = valid(kind) | {"colour": "secret-red", "model": 7, next(iter(refused)): "secret-blue"}
    reply = await caller.http.post(route, json=body)
    assert reply.status_code == 400
    message = reply.json()["error"]["message"]
    assert all(name in message for name in ("colour", "model", next(iter(refused))))
    assert "secret" not in message


def test_true_is_not_one():
    """A refused field's harmless values are compared with their types."""
    refused = {"store": fields.No("no", (False,))}
    with pytest.raises(InvalidParams):
        fields.read_body(Contract, refused, {"store": 0})


def valid(kind: type[Contract]) -> dict:
    """A body that is accepted."""
    return {
        "ChatBody": {"model": "demo", "messages": [{"role": "user", "content": "x"}]},
        "CompletionBody": {"model": "demo", "prompt": "x"},
        "EmbeddingBody": {"model": "demo", "input": "x"},
        "ResponsesBody": {"model": "demo", "input": "x"},
    }[kind.__name__]
