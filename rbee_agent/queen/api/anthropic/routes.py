"""The routes that speak Anthropic's Messages API."""

from __future__ import annotations

from aiohttp import web

from rbee_agent.http.errors import json_response
from rbee_agent.http.server import read_json_object
from rbee_agent.queen.api.anthropic.answer import MessageStream, whole
from rbee_agent.queen.api.anthropic.body import REFUSED, CountBody, MessagesBody
from rbee_agent.queen.api.anthropic.refusals import REQUEST_ID
from rbee_agent.queen.api.call import answering, send_stream, wishes
from rbee_agent.queen.api.fields import read_body
from rbee_agent.queen.api.model_worker import worker_of
from rbee_agent.queen.api.routes import SUBMIT, Route
from rbee_agent.queen.api.tasks import MAX_BODY

API = "Anthropic"
_ERRORS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504)


async def messages(request: web.Request) -> web.StreamResponse:
    """Answer a conversation."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(MessagesBody, REFUSED, raw, api=API)
    user = body.metadata.user_id if body.metadata is not None else None
    async with answering(request, [body.task(wishes(request, user))]) as answer:
        thinking = body.shows_thinking
        if body.stream:
            stream = MessageStream(answer, body.model, thinking=thinking)
            return await send_stream(request, answer, stream)
        (pieces,) = await answer.whole()
        ended = answer.queen.clock.monotonic()
        said = whole(answer, pieces, body.model, thinking=thinking)
        headers = answer.headers(ended) | {REQUEST_ID: answer.id}
        return json_response(said, headers=headers)


async def count(request: web.Request) -> web.Response:
    """How many tokens a conversation is."""
    raw = await read_json_object(request, max_bytes=MAX_BODY)
    body = read_body(CountBody, REFUSED, raw, api=API)
    worker = await worker_of(request, body.model)
    tokens = await worker.count(body.asked())
    return json_response({"input_tokens": tokens})


ROUTES = [
    Route(
        "POST",
        "/v1/messages",
        messages,
        SUBMIT,
        "Answer a conversation, as Anthropic does",
        body=MessagesBody,
        answer=dict,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        "/v1/messages/count_tokens",
        count,
        SUBMIT,
        "Count a conversation's tokens, as Anthropic does",
        body=CountBody,
        answer=dict,
        errors=_ERRORS,
    ),
]
"""Anthropic's API."""
