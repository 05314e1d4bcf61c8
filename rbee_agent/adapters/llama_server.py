"""llama.cpp's own ``llama-server``, over its native routes: they tell token ids.

It takes a prompt as a mix of text and token ids, so a stream that broke elsewhere goes on here
behind its ids.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rbee_agent.adapters.base import ModelWords, Resume, Target, Token
from rbee_agent.adapters.http_json import JsonEngine, template_variables
from rbee_agent.contracts.frames import AcceptedFrame, EndFrame, ErrorFrame
from rbee_agent.contracts.workers import ExecuteRequest, TemplateRequest, WorkerHealth
from rbee_agent.errors import RbeeError
from rbee_agent.wire.frames import token_frame
from rbee_agent.wire.sse import ServerEvent

_FINISH = {"limit": "length", "eos": "stop", "word": "stop"}


class LlamaServerAdapter:
    """See :class:`rbee_agent.adapters.base.Adapter`."""

    kind = "llama"
    resume: Resume = "ids"

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._engine = JsonEngine(session)

    @asynccontextmanager
    async def execute(
        self, target: Target, request: ExecuteRequest
    ) -> AsyncGenerator[AsyncIterator[list[ServerEvent]], None]:
        """Run a completion, a chat (templated by the engine) or an embedding."""
        if request.workload == "embedding":
            yield _once(await self._embed(target, request))
            return
        if request.workload == "rerank" or request.tools:
            raise RbeeError(
                "this llama-server is used for completions and embeddings only",
                code="INVALID_PARAMS",
            )
        prompt = request.prompt
        if prompt is None:
            prompt = await self.apply_template(
                target,
                TemplateRequest(
                    messages=request.messages or [],
                    chat_template_kwargs=request.chat_template_kwargs,
                    thinking=request.thinking,
                    reasoning_effort=request.reasoning_effort,
                ),
            )
        asked = completion_body(prompt, request)
        async with self._engine.stream(target, "/completion", asked) as events:
            yield _translated(events, request)

    async def health(self, target: Target, *, timeout: float) -> WorkerHealth:
        """Ready, slots and context, as ``/health`` and ``/props`` tell."""
        try:
            await self._engine.call(target, "GET", "/health", timeout=timeout)
        except RbeeError as error:
            if error.code != "POOL_UNREADY":
                raise
            return WorkerHealth(status="loading", worker_id=target.model, model=target.model)
        props = await self._engine.call(target, "GET", "/props", timeout=timeout)
        settings = props.get("default_generation_settings", {})
        return WorkerHealth(
            status="ready",
            worker_id=target.model,
            model=(await self.models(target, timeout=timeout))[0],
            slots=int(props.get("total_slots", 1)),
            context=int(settings.get("n_ctx", 0)),
        )

    async def models(self, target: Target, *, timeout: float) -> list[str]:
        """It has one, by the name of its file."""
        listed = await self._engine.call(target, "GET", "/v1/models", timeout=timeout)
        data = listed.get("data") or [{}]
        return [str(data[0].get("id", "")).rsplit("/", 1)[-1].removesuffix(".gguf") or "llama"]

    async def cancel(self, target: Target, job_id: str) -> None:
        """Nothing to do: closing the connection ends the job."""

    async def tokenize(
        self, target: Target, text: str, *, add_special: bool, parse_special: bool
    ) -> list[Token]:
        """As its own route has it."""
        body = {
            "content": text,
            "add_special": add_special,
            "parse_special": parse_special,
            "with_pieces": True,
        }
        said = await self._engine.call(target, "POST", "/tokenize", body)
        return [Token(int(one["id"]), _piece(one["piece"])) for one in said["tokens"]]

    async def detokenize(self, target: Target, tokens: list[int]) -> str:
        """As its own route has it."""
        said = await self._engine.call(target, "POST", "/detokenize", {"tokens": tokens})
        return str(said["content"])

    async def apply_template(self, target: Target, asked: TemplateRequest) -> str:
        """As its own route has it."""
        body: dict[str, Any] = {"messages": [message.dump() for message in asked.messages]}
        if asked.tools:
            body["tools"] = asked.tools
        body |= template_variables(asked, asked.chat_template_kwargs)
        said = await self._engine.call(target, "POST", "/apply-template", body)
        return str(said["prompt"])

    async def words(self, target: Target) -> ModelWords:
        """From ``/props``."""
        props = await self._engine.call(target, "GET", "/props")
        return ModelWords(
            chat_template=str(props.get("chat_template", "")),
            bos=str(props.get("bos_token", "")),
            eos=str(props.get("eos_token", "")),
            build=str(props.get("build_info", "")),
        )

    async def _embed(self, target: Target, request: ExecuteRequest) -> list[ServerEvent]:
        body = {"input": request.inputs}
        answer = await self._engine.call(target, "POST", "/v1/embeddings", body, timeout=600.0)
        return embedding_frames(request, answer)


def _piece(piece: str | list[int]) -> bytes:
    """Bytes that are no whole text come as numbers."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def completion_body(prompt: str, request: ExecuteRequest) -> dict[str, Any]:
    """The body of ``POST /completion`` for a job, resumed behind its ids where it has some."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "prompt": [prompt, *request.resume_token_ids] if request.resume_token_ids else prompt,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": request.kv_hint == "reuse" and not request.strict,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_last_n": sampling.penalty_last_n,
        "ignore_eos": sampling.ignore_eos,
        "stop": request.stop,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if request.max_tokens is not None:
        body["n_predict"] = max(0, request.max_tokens - len(request.resume_token_ids))
    if request.grammar is not None:
        body["grammar"] = request.grammar
    schema = request.response_format
    if schema is not None and schema.type != "text":
        body["json_schema"] = schema.json_schema or {}
    return body


async def _translated(
    events: AsyncIterator[list[ServerEvent]], request: ExecuteRequest
) -> AsyncIterator[list[ServerEvent]]:
    """llama-server's chunks as our frames."""
    index = len(request.resume_token_ids) - 1
    accepted = False
    async for batch in events:
        out: list[ServerEvent] = []
        for event in batch:
            if event.data == "[DONE]":
                continue
            chunk = json.loads(event.data)
            if event.event == "error" or "error" in chunk:
                out.append(_error(chunk))
                continue
            if not accepted:
                accepted = True
                out.append(_accepted(request, int(chunk.get("tokens_evaluated", 0))))
            ids = [int(token) for token in chunk.get("tokens") or []]
            text = str(chunk.get("content", ""))
            if (ids or text) and not (chunk.get("stop") and not text):
                # Without ids (an old server) each chunk counts as one token.
                index += len(ids) or 1
                out.append(ServerEvent("token", token_frame(index, text, ids or [-1])))
            if chunk.get("stop"):
                out.append(_end(chunk, index + 1))
        yield out


def _accepted(request: ExecuteRequest, tokens_in: int) -> ServerEvent:
    return ServerEvent(
        "accepted", AcceptedFrame(job_id=request.job_id, tokens_in=tokens_in).dump_json()
    )


def _end(chunk: dict[str, Any], tokens_out: int) -> ServerEvent:
    timings = chunk.get("timings") or {}
    frame = EndFrame.model_validate(
        {
            "tokens_in": int(chunk.get("tokens_evaluated", 0)),
            "tokens_out": tokens_out,
            "tokens_cached": int(timings.get("cache_n", 0)),
            "decode_time_ms": round(float(timings.get("predicted_ms", 0))),
            "prefill_time_ms": round(float(timings.get("prompt_ms", 0))),
            "finish_reason": _FINISH.get(str(chunk.get("stop_type", "eos")), "stop"),
        }
    )
    return ServerEvent("end", frame.dump_json())


def _error(chunk: dict[str, Any]) -> ServerEvent:
    said = chunk.get("error", chunk)
    message = said.get("message") if isinstance(said, dict) else said
    frame = ErrorFrame(code="INTERNAL", message=f"the engine said: {str(message)[:300]}")
    return ServerEvent("error", frame.dump_json())


def embedding_frames(request: ExecuteRequest, answer: dict[str, Any]) -> list[ServerEvent]:
    """An OpenAI-shaped embeddings answer as our frames."""
    data = [
        {"index": row.get("index", place), "embedding": row["embedding"]}
        for place, row in enumerate(answer.get("data", []))
    ]
    tokens_in = int((answer.get("usage") or {}).get("prompt_tokens", 0))
    return [
        _accepted(request, tokens_in),
        ServerEvent("result", json.dumps({"type": "result", "data": data}, separators=(",", ":"))),
        ServerEvent("end", EndFrame(tokens_in=tokens_in, tokens_out=0).dump_json()),
    ]


async def _once(batch: list[ServerEvent]) -> AsyncIterator[list[ServerEvent]]:
    yield batch
