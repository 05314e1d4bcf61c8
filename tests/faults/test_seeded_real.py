"""Seeded chaos with real workers: strict streams stay byte-exact, whatever breaks and when.

The suite runs a few seeds, `make faults` runs `LONG`; both architectures take turns.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.testing.queen import InProcessQueen
from tests.faults.processes import Crew, Line
from tests.faults.streams import Seen, read, strict

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

LONG = 60
RUNS = int(os.environ.get("RBEE_FAULT_RUNS_REAL", LONG if "RBEE_LONG" in os.environ else 4))
STREAMS, TOKENS = 3, 64
LATEST = 24
"""The fault comes at this token or before: this process may stand still for half a second, and the
stream must not be over when it reads the token."""
MOVES = 3
"""Most moves of one stream that a busy machine explains."""
FAULTS = ("SIGKILL", "SIGSTOP", "half-open")
QUESTIONS = (
    "The bees in the garden were busy, because",
    "Once upon a time there was a small machine that",
    "def fibonacci(n):",
    "My favourite season is",
)


@dataclass
class Answers:
    """What an undisturbed worker says, by model file and question; each is asked once."""

    known: dict[tuple[str, str, float], str] = field(default_factory=dict)

    async def of(self, client: QueenClient, file: str, request: TaskRequest) -> str:
        """The whole answer; the workers must be well when it is asked first."""
        key = (file, request.prompt or "", request.temperature or 0.0)
        if key not in self.known:
            self.known[key] = (await read(client, request)).text
        return self.known[key]


@pytest.fixture(scope="module")
def answers() -> Answers:
    """Shared by all seeds."""
    return Answers()


def requests_of(random_: random.Random) -> list[TaskRequest]:
    """What is asked in one run: different questions, greedy and sampled."""
    return [
        strict(TOKENS, prompt=prompt, temperature=random_.choice([0.0, 0.8]), seed=11)
        for prompt in random_.sample(QUESTIONS, STREAMS)
    ]


@pytest.mark.parametrize("seed", range(RUNS))
async def test_strict_streams_outlive_their_worker(
    places, hive, crew: Crew, answers: Answers, gaps, seed
):
    """Every stream ends with its own bytes; what was sent is never generated again."""
    random_ = random.Random(seed)
    file = ("demo", "second")[seed % 2]
    fault = FAULTS[seed // 2 % len(FAULTS)]
    async with AsyncExitStack() as stack:
        queen = await stack.enter_async_context(InProcessQueen(places))
        client = await stack.enter_async_context(QueenClient(queen.url))
        lines = {f"{file}-{n}": Line(crew.worker(file, n)) for n in (1, 2)}
        for line in lines.values():
            await hive.add(line)
        await client.register_node(hive.registration())
        asked = requests_of(random_)
        expected = [await answers.of(client, file, request) for request in asked]
        made = {name: (await line.worker.health()).tokens_out_total for name, line in lines.items()}
        streams = [Seen() for _ in asked]
        hit: dict[str, int] = {}

        def act() -> None:
            """Lose the worker that runs the first stream, and note what its readers have."""
            running = queen.queen.tasks.queue.open.values()
            name = next(t.worker_id for t in running if t.request.prompt == asked[0].prompt)
            assert name is not None
            for task in running:
                if task.worker_id == name:
                    hit[task.job_id] = task.stream.last_index + 1
            if fault == "half-open":
                lines[name].dark = True
            else:
                lines[name].worker.signal(getattr(signal, fault))
            lost.append(name)

        lost: list[str] = []
        async with asyncio.TaskGroup() as group:
            for place, request in enumerate(asked):
                group.create_task(
                    read(
                        client,
                        request,
                        at=random_.randrange(1, LATEST),
                        act=act if place == 0 else None,
                        seen=streams[place],
                    )
                )
        gaps.setdefault(f"seeded: {fault}", []).append(streams[0].gap)
        assert [seen.text for seen in streams] == expected
        assert all(seen.indices == list(range(TOKENS)) for seen in streams)
        # Once for the fault; oftener only where, on a busy machine, the other was silent, too.
        told = await client.explain(streams[0].job_id)
        reasons = [move.reason for move in told.moves]
        assert len(reasons) >= streams[0].end["resumed"] >= 1
        assert all("no sign of life" in reason for reason in reasons[1:]), reasons
        assert len(reasons) <= MOVES, reasons
        # One that was hit before its first token was tried anew, which counts as no resume.
        moved = sum(seen.end.get("resumed", 0) for seen in streams)
        assert moved >= sum(tokens > 0 for tokens in hit.values())
        assert not queen.queen.tasks.queue.open
        other = next(name for name in lines if name != lost[0])
        fresh = (await lines[other].worker.health()).tokens_out_total - made[other]
        assert fresh <= STREAMS * TOKENS - sum(hit.values()), "tokens were generated twice"
