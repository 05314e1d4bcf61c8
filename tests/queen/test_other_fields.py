"""Every field of the other APIs is supported or refused by name; the docs' tables say so."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

import ollama._types as ollama_types
import pytest
from anthropic.resources.messages import AsyncMessages
from anthropic.types import message_count_tokens_params, message_create_params

from rbee_agent.queen.api.anthropic import body as anthropic_room
from rbee_agent.queen.api.fields import table
from rbee_agent.queen.api.llamacpp import body as llama_room
from rbee_agent.queen.api.ollama import body as ollama_room
from rbee_agent.queen.api.ollama import options

DOCS = Path(__file__).parents[2] / "docs/compatible-apis.md"
_OF_THE_CLIENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


def _typed(*kinds: type) -> set[str]:
    return {name for kind in kinds for name in typing.get_type_hints(kind)}


def _ollama(kind: type) -> set[str]:
    return set(kind.model_fields)


MESSAGES = _typed(
    message_create_params.MessageCreateParamsNonStreaming,
    message_create_params.MessageCreateParamsStreaming,
) | (set(inspect.signature(AsyncMessages.create).parameters) - _OF_THE_CLIENT)
COUNT = _typed(message_count_tokens_params.MessageCountTokensParams)
ROOMS = {
    "/v1/messages": (anthropic_room.MessagesBody, anthropic_room.REFUSED, MESSAGES),
    "/v1/messages/count_tokens": (anthropic_room.CountBody, anthropic_room.REFUSED, COUNT),
    "/api/chat": (
        ollama_room.OllamaChatBody,
        ollama_room.CHAT_REFUSED,
        _ollama(ollama_types.ChatRequest),
    ),
    "/api/generate": (
        ollama_room.OllamaGenerateBody,
        ollama_room.GENERATE_REFUSED,
        _ollama(ollama_types.GenerateRequest),
    ),
    "/api/embed": (
        ollama_room.OllamaEmbedBody,
        ollama_room.EMBED_REFUSED,
        _ollama(ollama_types.EmbedRequest),
    ),
    "options": (options.Options, options.REFUSED, _ollama(ollama_types.Options)),
    "/completion": (llama_room.LlamaCompletionBody, llama_room.REFUSED, set()),
    "/tokenize": (llama_room.TokenizeBody, {}, set()),
}


@pytest.mark.parametrize("room", ROOMS)
def test_no_field_of_the_package_is_unknown(room):
    """What the official package can send is supported or refused by name, and nothing is both."""
    kind, refused, theirs = ROOMS[room]
    assert theirs - set(kind.model_fields) - refused.keys() == set()
    assert set(kind.model_fields) & refused.keys() == set()


@pytest.mark.parametrize("room", sorted(set(ROOMS) - {"/v1/messages/count_tokens"}))
def test_the_table_in_the_docs_is_the_one_of_the_code(room):
    """docs/compatible-apis.md holds the table of each, as the code has it."""
    kind, refused, _ = ROOMS[room]
    assert table(kind, refused) in DOCS.read_text()


@pytest.mark.parametrize("room", ROOMS)
def test_each_field_says_what_it_does(room):
    """No row of the tables is empty."""
    kind, _, _ = ROOMS[room]
    assert [name for name, one in kind.model_fields.items() if not one.description] == []
