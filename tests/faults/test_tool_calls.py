"""Tool calls of a real model on their way to a client, undisturbed and with the worker killed."""

from __future__ import annotations

import json
import signal
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rbee_agent.client.frames import Answer
from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.wire.sse import ServerEvent

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "from": {"type": "string", "pattern": "^[A-Z][a-z]{2,8}$"},
                "to": {"type": "string", "pattern": "^[A-Z][a-z]{2,8}$"},
                "seats": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["from", "to", "seats"],
        },
    },
}


def _request() -> TaskRequest:
    return TaskRequest.model_validate(
        {
            "model": "demo",
            "messages": [{"role": "user", "content": "Two seats from Paris to Rome."}],
            "workload": "chat",
            "tools": [TOOL],
            "tool_choice": {"mode": "required", "parallel": False},
            "max_tokens": 120,
            "temperature": 0.0,
            "seed": 7,
            "determinism": "strict",
        }
    )


def _answer(events: list[ServerEvent]) -> Answer:
    answer = Answer("", "")
    for event in events:
        answer.take(event)
    return answer


def _pieces(events: list[ServerEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events if event.event == "tool_call"]


async def test_a_call_outlives_its_worker(places, hive, crew):
    """Killed between two pieces of the arguments: id once, name once, and every letter."""
    async with AsyncExitStack() as stack:
        queen = await stack.enter_async_context(InProcessQueen(places))
        client = await stack.enter_async_context(QueenClient(queen.url))
        first = await hive.add(crew.worker("demo", 1))
        await client.register_node(hive.registration())
        expected = [event async for event in client.stream(_request())]
        call = _answer(expected).tool_calls[0]
        assert call.name == "book"
        assert call.parsed()["seats"] in range(1, 10)
        assert json.loads(expected[-1].data)["finish_reason"] == "tool_calls"

        await hive.add(crew.worker("demo", 2))
        seen: list[ServerEvent] = []
        async for event in client.stream(_request()):
            seen.append(event)
            if len(_pieces(seen)) == 3:
                first.signal(signal.SIGKILL)
        again = _answer(seen).tool_calls

        assert [(one.name, one.arguments) for one in again] == [(call.name, call.arguments)]
        pieces = _pieces(seen)
        assert [piece["i"] for piece in pieces] == [piece["i"] for piece in _pieces(expected)]
        for once in ("id", "name"):
            assert [once in piece for piece in pieces].count(True) == 1
        end = json.loads(seen[-1].data)
        assert (end["finish_reason"], end["resumed"]) == ("tool_calls", 1)


async def test_a_reader_comes_back_in_the_middle_of_a_call(places, hive, crew):
    """With the id of any piece it gets the pieces behind it, also after the end."""
    async with AsyncExitStack() as stack:
        queen = await stack.enter_async_context(InProcessQueen(places))
        client = await stack.enter_async_context(QueenClient(queen.url))
        await hive.add(crew.worker("demo", 2))
        await client.register_node(hive.registration())
        accepted = await client.submit(_request())
        whole = [event async for event in client.task_events(accepted.job_id)]
        pieces = [event for event in whole if event.event == "tool_call"]
        for place, piece in enumerate(pieces):
            rest = [event async for event in client.task_events(accepted.job_id, piece.id)]
            behind = [event.data for event in rest if event.event == "tool_call"]
            assert behind == [event.data for event in pieces[place + 1 :]]
            assert rest[-1].data == whole[-1].data
