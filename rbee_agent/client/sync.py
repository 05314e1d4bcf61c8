"""The SDK for code without an event loop: the same calls, each of which waits for its answer.

One thread per client runs the asynchronous client; so it also works where a loop is running
already, as in a notebook.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rbee_agent.client.queen import QueenClient
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    from rbee_agent.client.frames import Answer
    from rbee_agent.client.locate import Address
    from rbee_agent.contracts.models import CatalogModel
    from rbee_agent.contracts.nodes import NodeInfo
    from rbee_agent.contracts.pools import Deployment, DeploymentRequest
    from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest
    from rbee_agent.contracts.workers import WorkerInfo

T = TypeVar("T")


class SyncQueenClient:
    """A queen, called from ordinary code; a context manager. See `QueenClient` for each call."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """Prepare to call the queen at `url`; `timeout` is for each call with its retries."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="rbee-client", daemon=True
        )
        self._thread.start()
        self._closed = False
        self._queen = self._wait(_open(url, token, timeout))

    @classmethod
    def at(cls, address: Address, *, timeout: float = DEFAULT_TIMEOUT_S) -> Self:
        """The client for an address that `find_queen` found."""
        return cls(address.url, address.token, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; harmless when called again."""
        if self._closed:
            return
        self._closed = True
        self._wait(self._queen.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        self._loop.close()

    def health(self) -> dict[str, Any]:
        """Whether the queen is well."""
        return self._wait(self._queen.health())

    def version(self) -> dict[str, Any]:
        """The queen's version and protocol."""
        return self._wait(self._queen.version())

    def submit(self, request: TaskRequest) -> Accepted:
        """Hand in a task; it is durable when this returns."""
        return self._wait(self._queen.submit(request))

    def run(self, request: TaskRequest, *, timeout: float | None = None) -> Answer:
        """The whole answer."""
        return self._wait(self._queen.run(request, timeout=timeout))

    def text(self, request: TaskRequest, *, timeout: float | None = None) -> Iterator[str]:
        """The answer's text, piece by piece."""
        return self._each(self._queen.text(request, timeout=timeout))

    def stream(
        self, request: TaskRequest, *, verbose: bool = False, timeout: float | None = None
    ) -> Iterator[ServerEvent]:
        """Hand in a task and give its frames; leaving the iteration early cancels it."""
        return self._each(self._queen.stream(request, verbose=verbose, timeout=timeout))

    def task_events(
        self, job_id: str, last_event_id: str | None = None, *, verbose: bool = False
    ) -> Iterator[ServerEvent]:
        """A task's frames, resumed across breaks."""
        return self._each(self._queen.task_events(job_id, last_event_id, verbose=verbose))

    def events(self, last_event_id: str | None = None) -> Iterator[ServerEvent]:
        """The fleet's event feed; never ends."""
        return self._each(self._queen.events(last_event_id))

    def tap(self) -> Iterator[ServerEvent]:
        """What all running streams say; never ends."""
        return self._each(self._queen.tap())

    def task(self, job_id: str) -> TaskInfo:
        """One task."""
        return self._wait(self._queen.task(job_id))

    def tasks(self, *, state: str | None = None, limit: int | None = None) -> list[TaskInfo]:
        """Tasks, newest first."""
        return self._wait(self._queen.tasks(state=state, limit=limit))

    def cancel(self, job_id: str) -> None:
        """Cancel a task."""
        self._wait(self._queen.cancel(job_id))

    def explain(self, job_id: str) -> dict[str, Any]:
        """Why a task ran where it ran."""
        return self._wait(self._queen.explain(job_id))

    def nodes(self) -> list[NodeInfo]:
        """The hosts."""
        return self._wait(self._queen.nodes())

    def workers(self) -> list[WorkerInfo]:
        """The workers."""
        return self._wait(self._queen.workers())

    def spawn(self, request: DeploymentRequest) -> Deployment:
        """Wish for workers of a model."""
        return self._wait(self._queen.spawn(request))

    def stop_worker(self, worker_id: str) -> None:
        """Stop a worker."""
        self._wait(self._queen.stop_worker(worker_id))

    def deployments(self) -> list[Deployment]:
        """The wishes that the queen keeps."""
        return self._wait(self._queen.deployments())

    def models(self) -> list[CatalogModel]:
        """The catalog."""
        return self._wait(self._queen.models())

    def pull(self, model_id: str, *, node_id: str | None = None) -> dict[str, Any]:
        """Have a model fetched."""
        return self._wait(self._queen.pull(model_id, node_id=node_id))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _each(self, source: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while True:
                try:
                    item = self._wait(_step(source))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if not self._closed:
                self._wait(source.aclose())


async def _open(url: str, token: str | None, timeout: float) -> QueenClient:
    """Made on the loop's own thread, because the connection pool belongs to it."""
    return QueenClient(url, token, timeout=timeout)


async def _step(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)
