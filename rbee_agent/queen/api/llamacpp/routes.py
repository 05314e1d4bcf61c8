"""The routes that llama.cpp's server has beside OpenAI's."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rbee_agent import __version__
from rbee_agent.contracts.workers import TemplateRequest, WorkerState
from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.call import answering, send_stream, violation, wishes
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.llamacpp.answer import CompletionStream, whole
from rbee_agent.queen.api.llamacpp.body import (
    REFUSED,
    DetokenizeBody,
    LlamaCompletionBody,
    TemplateBody,
    TokenizeBody,
)
from rbee_agent.queen.api.model_worker import worker_of
from rbee_agent.queen.api.routes import READ, SUBMIT, Handler, Route, queen_of, who_of
from rbee_agent.queen.api.tasks import MAX_BODY
from rbee_agent.queen.service import Queen

API = "llama.cpp"
_ERRORS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504)


async def completion(request: web.Request) -> web.StreamResponse:
    """Go on behind a text."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(LlamaCompletionBody, REFUSED, raw, api=API)
    model = _model(queen_of(request), body.model)
    async with answering(request, body.tasks(model, wishes(request))) as answer:
        if body.stream:
            return await send_stream(request, answer, CompletionStream(answer, model))
        found = await answer.whole()
        ended = answer.queen.clock.monotonic()
        said = [whole(answer, place, pieces, model) for place, pieces in enumerate(found)]
        shown = said[0] if isinstance(body.prompt, str) else said
        return json_response(shown, headers=answer.headers(ended))


async def tokenize(request: web.Request) -> web.Response:
    """A text as the model reads it."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(TokenizeBody, {}, raw, api=API)
    worker = await worker_of(request, _model(queen_of(request), body.model))
    tokens = await worker.tokenize(
        body.content, add_special=body.add_special, parse_special=body.parse_special
    )
    if not body.with_pieces:
        return json_response({"tokens": [token.id for token in tokens]})
    return json_response(
        {"tokens": [{"id": token.id, "piece": _piece(token.piece)} for token in tokens]}
    )


async def detokenize(request: web.Request) -> web.Response:
    """The text that tokens show."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(DetokenizeBody, {}, raw, api=API)
    worker = await worker_of(request, _model(queen_of(request), body.model))
    return json_response({"content": await worker.detokenize(body.tokens)})


async def apply_template(request: web.Request) -> web.Response:
    """The prompt that a conversation becomes."""
    raw = await read_json_object(request, max_bytes=MAX_BODY, from_curl=True)
    body = read_body(TemplateBody, {}, raw, api=API)
    worker = await worker_of(request, _model(queen_of(request), body.model))
    asked = TemplateRequest.model_validate(body.model_dump(exclude={"model"}))
    return json_response({"prompt": await worker.prompt(asked)})


async def props(request: web.Request) -> web.Response:
    """What a model's workers are set to, and its chat template."""
    queen = queen_of(request)
    model = _model(queen, request.query.get("model"))
    asked = await worker_of(request, model)
    words = await asked.words()
    slots = sum(
        worker.info.slots
        for worker in queen.registry.workers.values()
        if worker.info.model == asked.worker.info.model and worker.info.state is WorkerState.READY
    )
    return json_response(
        {
            "default_generation_settings": {"n_ctx": asked.worker.info.context, "params": {}},
            "total_slots": slots,
            "model_alias": model,
            "model_path": model,
            "chat_template": words.chat_template,
            "bos_token": words.bos,
            "eos_token": words.eos,
            "modalities": {"vision": False, "audio": False},
            "build_info": f"rbee {__version__}, llama.cpp {words.build}".removesuffix(" "),
            "is_sleeping": False,
        }
    )


async def slots(request: web.Request) -> web.Response:
    """The slots of a model's workers, and the caller's own tasks in them."""
    queen, who = queen_of(request), who_of(request)
    model = _model(queen, request.query.get("model"))
    shown: list[dict[str, Any]] = []
    for worker in queen.registry.workers.values():
        if worker.info.model != model or worker.info.state is not WorkerState.READY:
            continue
        running = sorted(worker.in_flight)
        for place in range(max(worker.info.slots, len(running))):
            slot: dict[str, Any] = {
                "id": len(shown),
                "n_ctx": worker.info.context,
                "is_processing": place < len(running),
                "worker_id": worker.info.id,
            }
            task = queen.tasks.find(running[place]) if place < len(running) else None
            if task is not None and who.may_read(task.owner):
                slot["job_id"] = task.job_id
            shown.append(slot)
    return json_response(shown)


def _model(queen: Queen, given: str | None) -> str:
    """The model that a request is about: the one it names, else the only one that is loaded.

    Raises:
        InvalidParams: it names none, and there is not just one.
    """
    if given:
        return given
    loaded = sorted(
        {
            worker.info.model
            for worker in queen.registry.workers.values()
            if worker.info.state is WorkerState.READY
        }
    )
    if len(loaded) != 1:
        there = ", ".join(loaded) or "none"
        raise violation("model", f"say which: workers have {there}, and /v1/models lists all")
    return loaded[0]


def _piece(piece: bytes) -> str | list[int]:
    """Text, or numbers where a token is no whole text."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _post(path: str, handler: Handler, summary: str, body: type[Any]) -> Route:
    kind = object if body is LlamaCompletionBody else dict
    return Route("POST", path, handler, SUBMIT, summary, body=body, answer=kind, errors=_ERRORS)


def _get(path: str, handler: Handler, summary: str, answer: type[Any]) -> Route:
    query = {"model": "string"}
    return Route("GET", path, handler, READ, summary, query=query, answer=answer, errors=_ERRORS)


ROUTES = [
    _post("/completion", completion, "Go on behind a text, as llama.cpp does", LlamaCompletionBody),
    _post("/completions", completion, "The same by its older name", LlamaCompletionBody),
    _post("/tokenize", tokenize, "A text as token ids", TokenizeBody),
    _post("/detokenize", detokenize, "Token ids as text", DetokenizeBody),
    _post("/apply-template", apply_template, "A conversation as a prompt", TemplateBody),
    _get("/props", props, "What a model's workers are set to", dict),
    _get("/slots", slots, "The slots of a model's workers", list),
]
"""llama.cpp's own."""
