"""The routes below /v1 that speak OpenAI's API."""

from __future__ import annotations

from aiohttp import web

from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.anthropic import models as anthropic
from rbee_agent.queen.api.call import answering, send_stream, wishes
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.openai import completions, embeddings, responses_answer, responses_body
from rbee_agent.queen.api.openai.bodies import choices
from rbee_agent.queen.api.openai.chat_answer import ChatStream, whole
from rbee_agent.queen.api.openai.chat_body import REFUSED as CHAT_REFUSED
from rbee_agent.queen.api.openai.chat_body import ChatBody
from rbee_agent.queen.api.openai.completions import CompletionBody, CompletionStream
from rbee_agent.queen.api.openai.elsewhere import guided
from rbee_agent.queen.api.openai.embeddings import EmbeddingBody
from rbee_agent.queen.api.openai.models import model_entry, model_list
from rbee_agent.queen.api.openai.responses_answer import ResponseStream
from rbee_agent.queen.api.openai.responses_body import ResponsesBody
from rbee_agent.queen.api.routes import READ, SUBMIT, Route, queen_of, who_of
from rbee_agent.queen.api.task_fields import task_of
from rbee_agent.queen.api.tasks import MAX_BODY

_ERRORS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504)


async def models(request: web.Request) -> web.Response:
    """Every model that can be asked for."""
    data = model_list(queen_of(request))
    if anthropic.VERSION_HEADER in request.headers:
        return json_response(anthropic.page(data))
    return json_response({"object": "list", "data": data})


async def model(request: web.Request) -> web.Response:
    """One model; its name may hold slashes."""
    name = request.match_info["id"]
    entry = model_entry(queen_of(request), name, who_of(request))
    asks_anthropic = anthropic.VERSION_HEADER in request.headers
    return json_response(anthropic.shown(entry) if asks_anthropic else entry)


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a conversation."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(ChatBody, CHAT_REFUSED, guided(raw))
    fields = body.fields() | wishes(request, body.prompt_cache_key, body.user)
    async with answering(request, choices(fields, body.n, body.seed)) as answer:
        if body.stream:
            wants_usage = body.stream_options is not None and body.stream_options.include_usage
            translator = ChatStream(answer, body.model, usage=wants_usage, logprobs=body.logprobs)
            return await send_stream(request, answer, translator)
        pieces = await answer.whole()
        ended = answer.queen.clock.monotonic()
        said = whole(answer, pieces, body.model, logprobs=body.logprobs)
        return json_response(said, headers=answer.headers(ended))


async def complete(request: web.Request) -> web.StreamResponse:
    """Go on behind a text."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(CompletionBody, completions.REFUSED, guided(raw))
    async with answering(request, body.tasks(wishes(request, body.user))) as answer:
        if body.stream:
            return await send_stream(request, answer, CompletionStream(answer, body))
        pieces = await answer.whole()
        ended = answer.queen.clock.monotonic()
        said = completions.whole(answer, pieces, body)
        return json_response(said, headers=answer.headers(ended))


async def embed(request: web.Request) -> web.StreamResponse:
    """Vectors of texts."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(EmbeddingBody, embeddings.REFUSED, raw)
    async with answering(request, [body.task(wishes(request, body.user))]) as answer:
        (pieces,) = await answer.whole()
        ended = answer.queen.clock.monotonic()
        return json_response(embeddings.whole(pieces, body), headers=answer.headers(ended))


async def respond(request: web.Request) -> web.StreamResponse:
    """Answer in items: thinking, messages, function calls."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(ResponsesBody, responses_body.REFUSED, raw)
    fields = body.fields() | wishes(request, body.prompt_cache_key, body.user)
    async with answering(request, [task_of(fields)]) as answer:
        if body.stream:
            return await send_stream(request, answer, ResponseStream(answer, body))
        (pieces,) = await answer.whole()
        ended = answer.queen.clock.monotonic()
        said = responses_answer.whole(answer, pieces, body)
        return json_response(said, headers=answer.headers(ended))


ROUTES = [
    Route("GET", "/v1/models", models, READ, "Models, as OpenAI lists them", answer=dict),
    Route(
        "GET",
        "/v1/models/{id:.+}",
        model,
        READ,
        "One model, as OpenAI shows it",
        answer=dict,
        errors=(401, 403, 404, 409),
    ),
    Route(
        "POST",
        "/v1/chat/completions",
        chat,
        SUBMIT,
        "Answer a conversation, as OpenAI does",
        body=ChatBody,
        answer=dict,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        "/v1/completions",
        complete,
        SUBMIT,
        "Go on behind a text, as OpenAI does",
        body=CompletionBody,
        answer=dict,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        "/v1/responses",
        respond,
        SUBMIT,
        "Answer in items, as OpenAI's newer route does",
        body=ResponsesBody,
        answer=dict,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        "/v1/embeddings",
        embed,
        SUBMIT,
        "Vectors of texts, as OpenAI gives them",
        body=EmbeddingBody,
        answer=dict,
        errors=_ERRORS,
    ),
]
"""OpenAI's API."""
