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
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S, Params
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    from rbee_agent.client.frames import Answer
    from rbee_agent.client.locate import Address
    from rbee_agent.contracts.keys import KeyInfo, Role
    from rbee_agent.contracts.models import CatalogModel
    from rbee_agent.contracts.nodes import NodeInfo, NodeRegistration
    from rbee_agent.contracts.pools import Deployment, DeploymentRequest, PoolInfo
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

    def raw(self, method: str, path: str, *, json: Any = None, params: Params | None = None) -> Any:
        """One call by its path: decoded JSON, validated by nobody."""
        return self._wait(self._queen.raw(method, path, json=json, params=params))

    def capabilities(self) -> dict[str, Any]:
        """What the queen can do."""
        return self._wait(self._queen.capabilities())

    def session(self, session_id: str) -> dict[str, Any]:
        """A session's turns, time left and budgets."""
        return self._wait(self._queen.session(session_id))

    def end_session(self, session_id: str) -> None:
        """Forget a session."""
        self._wait(self._queen.end_session(session_id))

    def register_node(self, registration: NodeRegistration) -> dict[str, Any]:
        """Tell the queen of a hive."""
        return self._wait(self._queen.register_node(registration))

    def drain_node(self, node_id: str, *, drain: bool = True) -> None:
        """Give a host nothing new, or take it back."""
        self._wait(self._queen.drain_node(node_id, drain=drain))

    def remove_node(self, node_id: str) -> None:
        """Forget a host."""
        self._wait(self._queen.remove_node(node_id))

    def worker_logs(self, worker_id: str, *, lines: int | None = None) -> list[str]:
        """A worker's last log lines."""
        return self._wait(self._queen.worker_logs(worker_id, lines=lines))

    def pools(self) -> list[PoolInfo]:
        """Workers by model, host and device."""
        return self._wait(self._queen.pools())

    def model(self, model_id: str) -> CatalogModel:
        """One model of the catalog."""
        return self._wait(self._queen.model(model_id))

    def add_model(self, model: CatalogModel) -> CatalogModel:
        """Put a model into the catalog."""
        return self._wait(self._queen.add_model(model))

    def remove_model(self, model_id: str) -> None:
        """Take a model out of the catalog."""
        self._wait(self._queen.remove_model(model_id))

    def availability(self) -> dict[str, Any]:
        """Which host has which model."""
        return self._wait(self._queen.availability())

    def verify_model(self, model_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Have the bytes of a model hashed."""
        return self._wait(self._queen.verify_model(model_id, timeout=timeout))

    def keys(self) -> list[KeyInfo]:
        """The API keys, without their secrets."""
        return self._wait(self._queen.keys())

    def create_key(self, name: str, roles: list[Role]) -> dict[str, Any]:
        """Make a key; the answer holds its secret, once."""
        return self._wait(self._queen.create_key(name, roles))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key at once."""
        self._wait(self._queen.revoke_key(key_id))

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
