"""Any server that speaks the OpenAI API. It tells no token ids, so no stream can go on here."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rbee_agent.adapters.base import Resume, Target
from rbee_agent.adapters.http_json import JsonEngine, template_variables
from rbee_agent.adapters.llama_server import embedding_frames
from rbee_agent.contracts.frames import AcceptedFrame, EndFrame, ErrorFrame
from rbee_agent.contracts.workers import ExecuteRequest, WorkerHealth
from rbee_agent.errors import NotFound, RbeeError
from rbee_agent.wire.frames import token_frame, tool_call_frame
from rbee_agent.wire.sse import ServerEvent

SLOTS = 16
"""Nobody tells how many sequences such a server takes; it queues what is too much."""


class OpenAiAdapter:
    """See :class:`rbee_agent.adapters.base.Adapter`."""

    kind = "openai"
    resume: Resume = "none"

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._engine = JsonEngine(session)

    @asynccontextmanager
    async def execute(
        self, target: Target, request: ExecuteRequest
    ) -> AsyncGenerator[AsyncIterator[list[ServerEvent]], None]:
        """Run a completion, a chat or an embedding."""
        base = _base(target)
        if request.workload == "embedding":
            body = {"model": target.model, "input": request.inputs}
            answer = await self._engine.call(base, "POST", "/embeddings", body, timeout=600.0)
            yield _once(embedding_frames(request, answer))
            return
        if request.workload == "rerank" or request.grammar is not None:
            raise RbeeError(
                "this engine speaks the OpenAI API, which has no rerank and no grammars",
                code="INVALID_PARAMS",
            )
        chat = request.prompt is None
        path = "/chat/completions" if chat else "/completions"
        async with self._engine.stream(base, path, openai_body(target, request)) as events:
            yield _translated(events, request, chat=chat)

    async def health(self, target: Target, *, timeout: float) -> WorkerHealth:
        """Ready when it lists models; the named one, or else the first, is its model.

        Raises:
            RbeeError: it refused; MODEL_NOT_FOUND where it does not list the one that was named.
            Unreachable: nobody answers in time.
        """
        names = await self.models(target, timeout=timeout)
        if target.model and names and target.model not in names:
            listed = ", ".join(names[:5])
            raise NotFound(f"it has no {target.model}, but {listed}", code="MODEL_NOT_FOUND")
        name = target.model or next(iter(names), "")
        return WorkerHealth(status="ready", worker_id=name, model=name, slots=SLOTS)

    async def models(self, target: Target, *, timeout: float) -> list[str]:
        """As it lists them."""
        listed = await self._engine.call(_base(target), "GET", "/models", timeout=timeout)
        return [str(row.get("id", "")) for row in listed.get("data", [])]

    async def cancel(self, target: Target, job_id: str) -> None:
        """Nothing to do: closing the connection ends the job."""


def openai_body(target: Target, request: ExecuteRequest) -> dict[str, Any]:
    """The request in OpenAI's words."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": target.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    if request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        body["messages"] = [message.dump() for message in request.messages or []]
        body |= template_variables(request, request.chat_template_kwargs)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if request.stop:
        body["stop"] = request.stop
    if request.tools:
        body["tools"] = request.tools
    choice = request.tool_choice
    if request.tools and choice is not None:
        body["tool_choice"] = (
            {"type": "function", "function": {"name": choice.name}}
            if choice.mode == "named"
            else choice.mode
        )
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif wanted is not None and wanted.type == "json_schema":
        schema = {"name": "answer", "schema": wanted.json_schema or {}, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


class _Translator:
    """OpenAI's chunks to our frames; each delta counts as one token, usage corrects the bill."""

    def __init__(self, request: ExecuteRequest, *, chat: bool) -> None:
        self._request = request
        self._chat = chat
        self._index = -1
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._accepted = False
        self.ended = False

    def take(self, event: ServerEvent) -> list[ServerEvent]:
        """The frames that one event becomes."""
        if event.data == "[DONE]":
            return self.end()
        chunk = json.loads(event.data)
        if "error" in chunk:
            said = chunk["error"]
            message = said.get("message") if isinstance(said, dict) else said
            frame = ErrorFrame(code="INTERNAL", message=f"the engine said: {str(message)[:300]}")
            self.ended = True
            return [ServerEvent("error", frame.dump_json())]
        out: list[ServerEvent] = []
        if not self._accepted:
            self._accepted = True
            accepted = AcceptedFrame(job_id=self._request.job_id, tokens_in=0)
            out.append(ServerEvent("accepted", accepted.dump_json()))
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or []:
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or {} if self._chat else {"content": choice.get("text")}
            out += self._delta(delta)
        return out

    def end(self) -> list[ServerEvent]:
        """The last frame, once."""
        if self.ended:
            return []
        self.ended = True
        finish = self._finish if self._finish in ("stop", "length", "tool_calls") else "stop"
        frame = EndFrame.model_validate(
            {
                "tokens_in": int(self._usage.get("prompt_tokens", 0)),
                "tokens_out": int(self._usage.get("completion_tokens", self._index + 1)),
                "finish_reason": finish,
            }
        )
        return [ServerEvent("end", frame.dump_json())]

    def _delta(self, delta: dict[str, Any]) -> list[ServerEvent]:
        out: list[ServerEvent] = []
        for name, channel in (("reasoning_content", "reasoning"), ("content", None)):
            if delta.get(name):
                self._index += 1
                text = str(delta[name])
                out.append(
                    ServerEvent("token", token_frame(self._index, text, [-1], channel=channel))
                )
        for call in delta.get("tool_calls") or []:
            self._index += 1
            function = call.get("function") or {}
            frame = tool_call_frame(
                self._index,
                [-1],
                call=int(call.get("index", 0)),
                call_id=call.get("id"),
                name=function.get("name"),
                arguments_delta=str(function.get("arguments") or ""),
            )
            out.append(ServerEvent("tool_call", frame))
        return out


async def _translated(
    events: AsyncIterator[list[ServerEvent]], request: ExecuteRequest, *, chat: bool
) -> AsyncIterator[list[ServerEvent]]:
    translator = _Translator(request, chat=chat)
    async for batch in events:
        yield [frame for event in batch for frame in translator.take(event)]


def _base(target: Target) -> Target:
    """The target with ``/v1`` at its end, whether or not it was given with it."""
    url = target.url.rstrip("/")
    return Target(url if url.endswith("/v1") else f"{url}/v1", target.token, target.model)


async def _once(batch: list[ServerEvent]) -> AsyncIterator[list[ServerEvent]]:
    yield batch
