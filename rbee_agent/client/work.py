"""The data plane: tasks, their streams and answers, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from rbee_agent.client.calls import Calls, listed, parsed, segment
from rbee_agent.client.resume import RECONNECT_S, OnBreak, resumed
from rbee_agent.contracts.ids import new_id
from rbee_agent.errors import RbeeError, from_body
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    from rbee_agent.client.frames import Answer, Frame, Ranked
    from rbee_agent.contracts.explain import Explanation
    from rbee_agent.contracts.sessions import SessionInfo
    from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest

FINAL_EVENTS = frozenset({"end", "error"})
PAGE = 100


class WorkCalls(Calls):
    """Hand in work, read it, ask about it, end it."""

    async def submit(self, request: TaskRequest, *, timeout: float | None = None) -> Accepted:
        """Hand in a task; it is durable when this returns.

        A request without a `task_id` gets one, so that trying again is harmless.
        """
        from rbee_agent.contracts.tasks import Accepted

        body = await self._transport.call(
            "POST", "/v2/tasks", json=_with_id(request), timeout=timeout, reconnect=True
        )
        return parsed(Accepted, body)

    def task_events(
        self,
        job_id: str,
        last_event_id: str | None = None,
        *,
        verbose: bool = False,
        reconnect: float = RECONNECT_S,
        deadline: float | None = None,
        on_break: OnBreak | None = None,
    ) -> AsyncGenerator[ServerEvent, None]:
        """A task's frames up to its ``end`` or ``error``, resumed across breaks without loss.

        Args:
            job_id: the task.
            last_event_id: go on behind this event.
            verbose: narration and preparation progress too.
            reconnect: seconds that the queen may be away at a time.
            deadline: loop time at which the whole must have ended.
            on_break: told of each break that is being mended.
        """
        return resumed(
            self._transport,
            _events_of(job_id),
            params={"verbose": True} if verbose else None,
            last_event_id=last_event_id,
            last_events=FINAL_EVENTS,
            reconnect=reconnect,
            deadline=deadline,
            on_break=on_break,
        )

    async def stream(
        self,
        request: TaskRequest,
        *,
        verbose: bool = False,
        timeout: float | None = None,
        reconnect: float = RECONNECT_S,
        on_break: OnBreak | None = None,
    ) -> AsyncGenerator[ServerEvent, None]:
        """Hand in a task and give its frames, across broken connections and a restarted queen.

        Leaving the iteration early cancels the task.

        Args:
            request: what to do.
            verbose: narration and preparation progress too.
            timeout: seconds for the whole, from handing in to the end.
            reconnect: seconds that the queen may be away at a time.
            on_break: told of each break that is being mended.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        request = _with_id(request)
        job_id = request.task_id or ""
        params = {"verbose": True} if verbose else None
        events = resumed(
            self._transport,
            _events_of(job_id),
            params=params,
            last_events=FINAL_EVENTS,
            reconnect=reconnect,
            deadline=deadline,
            on_break=on_break,
            begin=self._transport.begun("/v2/tasks", json=request, params=params, timeout=timeout),
        )
        accepted, ended = False, False
        try:
            async with aclosing(events) as frames:
                async for event in frames:
                    accepted, ended = True, event.event in FINAL_EVENTS
                    if event.event != "accepted":
                        yield event
        except RbeeError:
            ended = ended or not accepted
            raise
        finally:
            if not ended:
                await self._let_go(job_id)

    async def frames(
        self, request: TaskRequest, *, verbose: bool = False, timeout: float | None = None
    ) -> AsyncGenerator[Frame, None]:
        """Hand in a task and give its frames as types; else as `stream`.

        An ``error`` frame is given like any other: it is the last.
        """
        from rbee_agent.client.frames import parse_frame

        async with aclosing(self.stream(request, verbose=verbose, timeout=timeout)) as events:
            async for event in events:
                for frame in parse_frame(event):
                    yield frame

    async def text(
        self, request: TaskRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[str, None]:
        """The answer's text, piece by piece.

        Raises:
            RbeeError: the task ended with an error.
        """
        import json

        from rbee_agent.client.frames import token_texts

        async with aclosing(self.stream(request, timeout=timeout)) as events:
            async for event in events:
                if event.event == "token":
                    for text, channel in token_texts(event):
                        if channel == "content":
                            yield text
                elif event.event == "error":
                    raise from_body({"error": json.loads(event.data)})

    async def run(self, request: TaskRequest, *, timeout: float | None = None) -> Answer:
        """The whole answer: text, reasoning, tool calls, results, and the bill.

        Raises:
            RbeeError: the task ended with an error.
        """
        from rbee_agent.client.frames import Answer, gather

        request = _with_id(request)
        answer = Answer(job_id=request.task_id or "", model=request.model)
        async with aclosing(self.stream(request, timeout=timeout)) as events:
            return await gather(answer, events)

    async def embed(
        self, model: str, inputs: list[str], *, timeout: float | None = None
    ) -> list[list[float]]:
        """One vector for each input, in their order.

        Raises:
            RbeeError: the task ended with an error.
        """
        from rbee_agent.contracts.tasks import TaskRequest

        request = TaskRequest(model=model, inputs=inputs, workload="embedding")
        return (await self.run(request, timeout=timeout)).embeddings

    async def rerank(
        self, model: str, query: str, inputs: list[str], *, timeout: float | None = None
    ) -> list[Ranked]:
        """The inputs held against a query, the best first.

        Raises:
            RbeeError: the task ended with an error.
        """
        from rbee_agent.contracts.tasks import TaskRequest

        request = TaskRequest(model=model, query=query, inputs=inputs, workload="rerank")
        return (await self.run(request, timeout=timeout)).ranking

    async def _let_go(self, job_id: str) -> None:
        """Cancel a task that nobody reads any more; a queen that is gone cannot be told."""
        try:
            await asyncio.shield(self.cancel(job_id, timeout=3.0))
        except RbeeError:
            return

    async def task(self, job_id: str) -> TaskInfo:
        """One task's state and timings."""
        from rbee_agent.contracts.tasks import TaskInfo

        return parsed(TaskInfo, await self.raw("GET", f"/v2/tasks/{segment(job_id)}"))

    async def tasks(
        self,
        *,
        state: str | None = None,
        model: str | None = None,
        session_id: str | None = None,
        limit: int | None = None,
        before: float | None = None,
    ) -> list[TaskInfo]:
        """One page of tasks, newest first.

        Args:
            state: only those in this state.
            model: only those of this model.
            session_id: only those of this session.
            limit: at most so many (1000 is the most).
            before: only those created before this Unix time.
        """
        from rbee_agent.contracts.tasks import TaskInfo

        params = {
            "state": state,
            "model": model,
            "session_id": session_id,
            "limit": limit,
            "before": before,
        }
        body = await self.raw("GET", "/v2/tasks", params=params)
        return listed(TaskInfo, body, "tasks")

    async def cancel(self, job_id: str, *, timeout: float | None = None) -> None:
        """Cancel a task; harmless when it has ended."""
        path = f"/v2/tasks/{segment(job_id)}/cancel"
        await self._transport.call("POST", path, timeout=timeout, reconnect=True)

    async def explain(self, job_id: str) -> Explanation:
        """Why a task ran where it ran, or why it waits."""
        from rbee_agent.contracts.explain import Explanation

        return parsed(Explanation, await self.raw("GET", f"/v2/tasks/{segment(job_id)}/explain"))

    async def session(self, session_id: str) -> SessionInfo:
        """A session's turns, time left and budgets."""
        from rbee_agent.contracts.sessions import SessionInfo

        return parsed(SessionInfo, await self.raw("GET", f"/v2/sessions/{segment(session_id)}"))

    async def end_session(self, session_id: str) -> None:
        """Forget a session."""
        await self.raw("DELETE", f"/v2/sessions/{segment(session_id)}")


def _events_of(job_id: str) -> str:
    return f"/v2/tasks/{segment(job_id)}/events"


def _with_id(request: TaskRequest) -> TaskRequest:
    if request.task_id is not None:
        return request
    return request.model_copy(update={"task_id": new_id("task")})
