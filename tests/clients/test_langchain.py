"""LangChain's OpenAI classes, unmodified, against real daemons and the demo model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from rbee_agent.testing.live_fleet import MODEL

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


class Bee(BaseModel):
    """A bee."""

    kind: Literal["queen", "worker", "drone"]
    legs: Literal[2, 6]


@pytest.fixture
async def common(queen_url) -> AsyncIterator[dict[str, Any]]:
    """What every class is given; LangChain keeps connections for ever, a test closes its own."""
    with httpx.Client(timeout=60) as plain:
        async with httpx.AsyncClient(timeout=60) as http:
            yield {
                "base_url": f"{queen_url}/v1",
                "api_key": "any",
                "http_client": plain,
                "http_async_client": http,
            }


@pytest.fixture
def chat(common) -> ChatOpenAI:
    """A chat model of LangChain."""
    return ChatOpenAI(**common, model=MODEL, temperature=0, seed=1, max_tokens=16)


async def test_invoke_stream_and_batch(chat):
    """The same text in each way, with the usage."""
    whole = await chat.ainvoke("Name three colours.")
    assert whole.content
    assert whole.usage_metadata["output_tokens"] <= 16
    pieces = [piece async for piece in chat.astream("Name three colours.", stream_usage=True)]
    assert "".join(piece.content for piece in pieces) == whole.content
    assert pieces[-1].usage_metadata or any(piece.usage_metadata for piece in pieces)
    batch = await chat.abatch(["Name three colours."] * 4)
    assert {message.content for message in batch} == {whole.content}


async def test_structured_output(common):
    """A pydantic class comes back as an object of it."""
    chat = ChatOpenAI(**common, model=MODEL, temperature=0)
    structured = chat.with_structured_output(Bee, method="json_schema")
    assert isinstance(await structured.ainvoke("Describe a bee."), Bee)


async def test_tools(common):
    """A call that must be made is made, whole and streamed; its arguments are the tool's."""
    chat = ChatOpenAI(**common, model=MODEL, temperature=0, seed=1)
    bound = chat.bind_tools([Bee], tool_choice="any", parallel_tool_calls=False)
    whole = await bound.ainvoke("Describe a bee.")
    (call,) = whole.tool_calls
    assert call["name"] == "Bee"
    assert isinstance(Bee.model_validate(call["args"]), Bee)
    gathered = None
    async for piece in bound.astream("Describe a bee."):
        gathered = piece if gathered is None else gathered + piece
    assert [(c["name"], c["args"]) for c in gathered.tool_calls] == [("Bee", call["args"])]


async def test_the_responses_route(common):
    """LangChain's other way to the same model."""
    model = ChatOpenAI(
        **common,
        model=MODEL,
        temperature=0,
        max_tokens=16,
        use_responses_api=True,
    )
    whole = await model.ainvoke("Name three colours.")
    pieces = [piece async for piece in model.astream("Name three colours.")]
    assert whole.text
    assert "".join(piece.text for piece in pieces) == whole.text


async def test_raw_completions(common):
    """The older class, which sends lists of prompts."""
    model = OpenAI(**common, model=MODEL, temperature=0, max_tokens=8)
    texts = await model.agenerate(["Once upon a time", "One, two,"])
    assert all(choices[0].text for choices in texts.generations)
    assert "".join([piece async for piece in model.astream("Once upon a time")])


async def test_embeddings(common, encoder):
    """Texts as they are; without the switch LangChain would send token ids of OpenAI's."""
    plain = OpenAIEmbeddings(**common, model=encoder, check_embedding_ctx_length=False)
    vectors = await plain.aembed_documents(["a bee", "a tree"])
    assert [len(vector) for vector in vectors] == [64, 64]
    assert await plain.aembed_query("a bee") == pytest.approx(vectors[0], abs=1e-6)
