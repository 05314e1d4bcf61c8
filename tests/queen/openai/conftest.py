"""The official client of the OpenAI API, pointed at a queen with one scripted worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from rbee_agent.testing.worker import FakeWorker

THINKING = [
    ("token", {"i": 0, "t": "Hm", "channel": "reasoning", "ids": [1]}),
    ("token", {"i": 2, "t": ", bees.", "channel": "reasoning", "ids": [2, 3]}),
    ("token", {"i": 3, "t": "Yes", "ids": [4]}),
    ("token", {"i": 4, "t": ".", "ids": [5]}),
    ("end", {"tokens_in": 7, "tokens_out": 5, "tokens_cached": 2, "finish_reason": "stop"}),
]
CALLING = [
    ("token", {"i": 0, "t": "Let me see.", "ids": [1]}),
    (
        "tool_call",
        {"i": 1, "index": 0, "id": "call_a", "name": "weather", "arguments_delta": "", "ids": [2]},
    ),
    ("tool_call", {"i": 2, "index": 0, "arguments_delta": '{"city":', "ids": [3]}),
    ("tool_call", {"i": 3, "index": 0, "arguments_delta": '"Bern"}', "ids": [4]}),
    (
        "tool_call",
        {"i": 4, "index": 1, "id": "call_b", "name": "time", "arguments_delta": "{}", "ids": [5]},
    ),
    ("end", {"tokens_in": 7, "tokens_out": 5, "finish_reason": "tool_calls"}),
]
LOGGED = [
    (
        "token",
        {
            "i": 0,
            "t": "Hi",
            "lp": [
                {
                    "token": "Hi",
                    "logprob": -0.5,
                    "bytes": [72, 105],
                    "top": [
                        {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                        {"token": "Ho", "logprob": -1.5, "bytes": [72, 111]},
                    ],
                }
            ],
            "ids": [1],
        },
    ),
    (
        "token",
        {
            "i": 1,
            "t": " you",
            "lp": [{"token": " you", "logprob": -0.25, "bytes": [32, 121, 111, 117], "top": []}],
            "ids": [2],
        },
    ),
    ("end", {"tokens_in": 3, "tokens_out": 2, "finish_reason": "length"}),
]


@pytest.fixture
def script() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """What a worker can be told to say."""
    return {"thinking": THINKING, "calling": CALLING, "logged": LOGGED}


@pytest.fixture
async def worker(caller, hive) -> FakeWorker:
    """A worker of the model `demo` that the queen knows."""
    made = FakeWorker("w1")
    await hive.add(made)
    await caller.register(hive)
    return made


@pytest.fixture
async def openai(caller, worker) -> AsyncIterator[AsyncOpenAI]:
    """The official client; it tries nothing twice, so that what is refused is seen."""
    async with AsyncOpenAI(
        base_url=f"{caller.http.base_url}/v1", api_key="made-up", max_retries=0
    ) as client:
        yield client
