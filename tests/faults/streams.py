"""Strict streams of real workers, read as a client reads them, with a stopwatch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rbee_agent.client.frames import token_texts
from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.wire.sse import ServerEvent

PROMPT = "The bees in the garden were busy, because"
TOKENS = 60


def strict(
    tokens: int = TOKENS, *, prompt: str = PROMPT, temperature: float = 0.0, seed: int = 7
) -> TaskRequest:
    """A request whose bytes are promised."""
    return TaskRequest(
        model="demo",
        prompt=prompt,
        max_tokens=tokens,
        temperature=temperature,
        seed=seed,
        ignore_eos=True,
        determinism="strict",
    )


@dataclass
class Seen:
    """One stream as its reader saw it."""

    events: list[ServerEvent] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each token frame came."""

    @property
    def job_id(self) -> str:
        """The task's."""
        started = next(e for e in self.events if e.event == "started")
        return str(json.loads(started.data)["job_id"])

    @property
    def text(self) -> str:
        """Every token's text."""
        return "".join(t for e in self.events if e.event == "token" for t, _ in token_texts(e))

    @property
    def indices(self) -> list[int]:
        """Every token's index."""
        frames = [json.loads(e.data) for e in self.events if e.event == "token"]
        return [item["i"] for frame in frames for item in frame.get("batch", [frame])]

    @property
    def end(self) -> dict[str, Any]:
        """The last frame."""
        last: dict[str, Any] = json.loads(self.events[-1].data)
        assert last["type"] == "end", last
        return last

    @property
    def gap(self) -> float:
        """The longest pause between two tokens."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)


async def read(
    client: QueenClient,
    request: TaskRequest,
    *,
    at: int = -1,
    act: Callable[[], Any] | None = None,
    seen: Seen | None = None,
) -> Seen:
    """Read a task to its end; `act` is called (awaited, where it can be) once when token `at` came.

    Args:
        client: of the queen.
        request: what is asked.
        at: index of a token.
        act: what goes wrong then.
        seen: filled as the stream comes, for others to look at.
    """
    seen = seen if seen is not None else Seen()
    async for event in client.stream(request):
        seen.events.append(event)
        if event.event == "token":
            seen.times.append(time.monotonic())
            if act is not None and event.id is not None and int(event.id) >= at:
                waits, act = act(), None
                if waits is not None:
                    await waits
    return seen
