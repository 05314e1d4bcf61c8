"""The routes below /api that speak Ollama's API."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rbee_agent import __version__
from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import Conflict, NotFound, Refused
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.call import Data, answering, send_stream, violation, wishes
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.model_worker import load, ready_worker, worker_of
from rbee_agent.queen.api.ollama import models
from rbee_agent.queen.api.ollama.answer import LineStream, Words, bill, nothing_said, whole
from rbee_agent.queen.api.ollama.body import (
    CHAT_REFUSED,
    EMBED_REFUSED,
    GENERATE_REFUSED,
    SHOW_REFUSED,
    AnswerBody,
    OllamaChatBody,
    OllamaEmbedBody,
    OllamaEmbeddingsBody,
    OllamaGenerateBody,
    OllamaModelBody,
    OllamaShowBody,
)
from rbee_agent.queen.api.routes import PUBLIC, READ, SUBMIT, Route, queen_of, who_of
from rbee_agent.queen.api.task_fields import task_named
from rbee_agent.queen.api.tasks import MAX_BODY
from rbee_agent.queen.service import Queen

API = "Ollama"
LEVEL = "0.13.0"
"""The version of Ollama whose API this is: its tools ask for it to know what they may use."""
_ERRORS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504)


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a conversation."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(OllamaChatBody, CHAT_REFUSED, raw, api=API)
    return await _answer(request, body, empty=not body.messages)


async def generate(request: web.Request) -> web.StreamResponse:
    """Answer a prompt."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(OllamaGenerateBody, GENERATE_REFUSED, raw, api=API)
    return await _answer(request, body, empty=not body.prompt)


async def _answer(
    request: web.Request, body: OllamaChatBody | OllamaGenerateBody, *, empty: bool
) -> web.StreamResponse:
    queen = queen_of(request)
    words = Words(body.model, isinstance(body, OllamaChatBody), thinking=body.think is not False)
    model = _prepared(request, body)
    if empty:
        return await _load_or_unload(request, body, words, model)
    async with answering(request, [body.task(model, wishes(request))]) as answer:
        if body.stream:
            return await send_stream(request, answer, LineStream(answer, words))
        (pieces,) = await answer.whole()
        ended = queen.clock.monotonic()
        return json_response(whole(answer, pieces, words), headers=answer.headers(ended))


async def _load_or_unload(
    request: web.Request, body: AnswerBody, words: Words, model: str
) -> web.Response:
    """No prompt: the model is loaded, or with keep_alive 0 unloaded as soon as nothing runs."""
    queen = queen_of(request)
    if body.keep_s != 0:
        await load(request, model)
        return json_response(nothing_said(words, "load"))
    kept = [wish for wish in queen.deployments.wishes.of_model(model) if not wish.on_demand]
    if kept:
        raise Conflict(f"{model} was wished for and stays; `rbee worker stop {kept[0].id}` ends it")
    return json_response(nothing_said(words, "unload"))


async def embed(request: web.Request) -> web.Response:
    """One vector for each input."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    return await _embed(request, read_body(OllamaEmbedBody, EMBED_REFUSED, raw, api=API))


async def embeddings(request: web.Request) -> web.Response:
    """The vector of one prompt: the older route."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    return await _embed(request, read_body(OllamaEmbeddingsBody, EMBED_REFUSED, raw, api=API))


async def _embed(
    request: web.Request, body: OllamaEmbedBody | OllamaEmbeddingsBody
) -> web.Response:
    model = _prepared(request, body)
    fields = {"model": model, "workload": "embedding", "inputs": body.texts, **wishes(request)}
    async with answering(request, [task_named(fields, {"inputs": "input"})]) as answer:
        (pieces,) = await answer.whole()
        rows = [row for piece in pieces if isinstance(piece, Data) for row in piece.data]
        vectors = [row["embedding"] for row in sorted(rows, key=lambda row: int(row["index"]))]
        said: dict[str, Any] = {"embedding": vectors[0]}
        if isinstance(body, OllamaEmbedBody):
            end = next(piece for piece in pieces if isinstance(piece, EndFrame))
            names = ("total_duration", "load_duration", "prompt_eval_count")
            costs = bill(answer, end)
            said = {"model": body.model, "embeddings": vectors, **{k: costs[k] for k in names}}
        return json_response(said, headers=answer.headers(answer.queen.clock.monotonic()))


def _prepared(request: web.Request, body: OllamaModelBody) -> str:
    """The model's id; what the request says of its context and its idling is looked after.

    Raises:
        RbeeError: there is no such model, or its workers have less context than is asked for.
    """
    queen = queen_of(request)
    model = queen.catalog.resolve(models.plain_name(queen, body.model), who_of(request))
    _check_context(queen, model, body.options.num_ctx)
    queen.deployments.keep_alive(model, body.keep_s)
    return model


def _check_context(queen: Queen, model: str, wanted: int | None) -> None:
    there = [
        worker.info.context
        for worker in queen.registry.workers.values()
        if worker.info.model == model and worker.info.state is WorkerState.READY
    ]
    facts = queen.catalog.facts(model)
    most = max(there, default=facts.context_length if facts is not None else 0)
    if wanted is not None and most and wanted > most:
        raise violation(
            "options.num_ctx",
            f"{model} has {most} tokens here; `rbee worker spawn --ctx {wanted}` starts a worker "
            "with more, up to what the model was trained for",
        )


async def tags(request: web.Request) -> web.Response:
    """Every model that can be asked for."""
    return json_response({"models": models.tags(queen_of(request))})


async def ps(request: web.Request) -> web.Response:
    """The models that are loaded."""
    return json_response({"models": models.running(queen_of(request))})


async def show(request: web.Request) -> web.Response:
    """One model; its template where a worker has it."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(OllamaShowBody, SHOW_REFUSED, raw, api=API)
    queen = queen_of(request)
    name = queen.catalog.resolve(models.plain_name(queen, body.model), who_of(request))
    words = None
    if ready_worker(queen, name) is not None:
        try:
            words = await (await worker_of(request, name)).words()
        except Refused:
            words = None  # an engine that does not tell it
    known = queen.catalog.find(name)
    return json_response(models.show(queen, known, name, words))


async def version(_: web.Request) -> web.Response:
    """Whose API this is, and who speaks it."""
    return json_response({"version": LEVEL, "rbee": __version__})


async def elsewhere(request: web.Request) -> web.Response:
    """What Ollama does with model files of its own kind; here the catalog does it."""
    command = _ELSEWHERE[request.path]
    raise NotFound(f"{request.path} is not served: {command}")


_ELSEWHERE = {
    "/api/pull": "`rbee model pull NAME` has a model fetched onto a host",
    "/api/push": "models are not published from here",
    "/api/create": "`rbee-hive models register NAME FILE` makes a GGUF file known",
    "/api/copy": "`rbee-hive models register NAME FILE` gives a file another name",
    "/api/delete": "`rbee model rm NAME` takes a model out of the catalog",
}


def _made(path: str, handler: Any, summary: str, body: type) -> Route:
    return Route("POST", path, handler, SUBMIT, summary, body=body, answer=dict, errors=_ERRORS)


ROUTES = [
    _made("/api/chat", chat, "Answer a conversation, as Ollama does", OllamaChatBody),
    _made("/api/generate", generate, "Answer a prompt, as Ollama does", OllamaGenerateBody),
    _made("/api/embed", embed, "Vectors of texts, as Ollama gives them", OllamaEmbedBody),
    _made(
        "/api/embeddings",
        embeddings,
        "The vector of a text, its older route",
        OllamaEmbeddingsBody,
    ),
    Route("GET", "/api/tags", tags, READ, "Models, as Ollama lists them", answer=dict),
    Route("GET", "/api/ps", ps, READ, "Loaded models, as Ollama lists them", answer=dict),
    Route(
        "POST",
        "/api/show",
        show,
        READ,
        "One model, as Ollama shows it",
        body=OllamaShowBody,
        answer=dict,
        errors=_ERRORS,
    ),
    Route("GET", "/api/version", version, PUBLIC, "Whose API this is", answer=dict, errors=()),
    *(
        Route(
            "DELETE" if path == "/api/delete" else "POST",
            path,
            elsewhere,
            READ,
            "Not served: models are the catalog's",
            status=404,
            errors=(401, 403, 404, 503),
        )
        for path in _ELSEWHERE
    ),
]
"""Ollama's API."""
