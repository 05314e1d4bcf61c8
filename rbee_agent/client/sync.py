"""The SDK for code without an event loop: the same calls, each of which waits for its answer.

One thread per client runs the asynchronous client; so it also works where a loop is running
already, as in a notebook. Every call is made from the asynchronous one, with its signature.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from rbee_agent.client.queen import QueenClient
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from rbee_agent.client.locate import Address

P = ParamSpec("P")
T = TypeVar("T")


def _waits(
    call: Callable[Concatenate[QueenClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncQueenClient, P], T]:
    """An asynchronous call as one that returns its answer."""

    @wraps(call)
    def wait(self: SyncQueenClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(call(self._queen, *args, **kwargs))

    return wait


def _iterates(
    call: Callable[Concatenate[QueenClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[SyncQueenClient, P], Iterator[T]]:
    """An asynchronous stream as an ordinary iterator."""

    @wraps(call)
    def iterate(self: SyncQueenClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._each(call(self._queen, *args, **kwargs))

    return iterate


class SyncQueenClient:
    """A queen, called from ordinary code; a context manager. See `QueenClient` for each call."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = 2,
    ) -> None:
        """Prepare to call the queen at `url`; the arguments are those of `QueenClient`."""
        self.url = url.rstrip("/")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="rbee-client", daemon=True
        )
        self._thread.start()
        self._closed = False
        self._queen = self._wait(_open(url, token, timeout, retries))

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

    raw = _waits(QueenClient.raw)
    health = _waits(QueenClient.health)
    version = _waits(QueenClient.version)
    capabilities = _waits(QueenClient.capabilities)
    events = _iterates(QueenClient.events)
    snapshot = _waits(QueenClient.snapshot)
    changes = _iterates(QueenClient.changes)
    tap = _iterates(QueenClient.tap)
    watch = _iterates(QueenClient.watch)

    submit = _waits(QueenClient.submit)
    run = _waits(QueenClient.run)
    embed = _waits(QueenClient.embed)
    rerank = _waits(QueenClient.rerank)
    text = _iterates(QueenClient.text)
    stream = _iterates(QueenClient.stream)
    frames = _iterates(QueenClient.frames)
    task_events = _iterates(QueenClient.task_events)
    task = _waits(QueenClient.task)
    tasks = _waits(QueenClient.tasks)
    cancel = _waits(QueenClient.cancel)
    explain = _waits(QueenClient.explain)
    session = _waits(QueenClient.session)
    end_session = _waits(QueenClient.end_session)

    nodes = _waits(QueenClient.nodes)
    register_node = _waits(QueenClient.register_node)
    drain_node = _waits(QueenClient.drain_node)
    remove_node = _waits(QueenClient.remove_node)
    hosts = _waits(QueenClient.hosts)
    add_host = _waits(QueenClient.add_host)
    remove_host = _waits(QueenClient.remove_host)
    queen_key = _waits(QueenClient.queen_key)
    workers = _waits(QueenClient.workers)
    spawn = _waits(QueenClient.spawn)
    stop_worker = _waits(QueenClient.stop_worker)
    worker_logs = _waits(QueenClient.worker_logs)
    deployments = _waits(QueenClient.deployments)
    pools = _waits(QueenClient.pools)
    drain_pool = _waits(QueenClient.drain_pool)
    reload_pool = _waits(QueenClient.reload_pool)
    purge_pool = _waits(QueenClient.purge_pool)

    models = _waits(QueenClient.models)
    model = _waits(QueenClient.model)
    add_model = _waits(QueenClient.add_model)
    remove_model = _waits(QueenClient.remove_model)
    retire_model = _waits(QueenClient.retire_model)
    availability = _waits(QueenClient.availability)
    pull = _waits(QueenClient.pull)
    verify_model = _waits(QueenClient.verify_model)

    policy = _waits(QueenClient.policy)
    check_policy = _waits(QueenClient.check_policy)
    put_policy = _waits(QueenClient.put_policy)
    drop_policy = _waits(QueenClient.drop_policy)
    keys = _waits(QueenClient.keys)
    create_key = _waits(QueenClient.create_key)
    revoke_key = _waits(QueenClient.revoke_key)

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


async def _open(url: str, token: str | None, timeout: float, retries: int) -> QueenClient:
    """Made on the loop's own thread, because the connection pool belongs to it."""
    return QueenClient(url, token, timeout=timeout, retries=retries)


async def _step(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)
