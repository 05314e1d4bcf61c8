"""The queen's links to the hives: one long-lived event stream each, and the calls beside it.

Whatever comes over a link is a sign of life. Without one for 3 s the node is suspect and its
``/health`` is asked; when that fails too it is offline, within 5 s of the last sign.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from pydantic import ValidationError

from rbee_agent.contracts.keys import Role
from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.nodes import (
    Heartbeat,
    HiveSnapshot,
    NodeRegistration,
    NodeState,
    Telemetry,
)
from rbee_agent.contracts.routes import WORKER_WAY
from rbee_agent.contracts.workers import WorkerInfo
from rbee_agent.errors import RbeeError, Refused, Unreachable, from_body
from rbee_agent.http.peers import pinned, why
from rbee_agent.observe import logs
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.fleet import Node
from rbee_agent.queen.guard import guarded
from rbee_agent.queen.registry import Registry
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.round_trip import round_trip
from rbee_agent.security.keys import Identity
from rbee_agent.settings.secret import Secret
from rbee_agent.store.base import Store
from rbee_agent.wire.sse import ServerEvent, SseDecoder
from rbee_agent.wire.versions import check_peer, version_headers

KIND = "node"
SUSPECT_S = 3.0
PROBE_S = 1.5
FAR = 6.0
"""So many round trips to a distant hive its answer may take longer: one to call, one to ask, and
what a link loses on the way is sent again after two, then after four."""
WATCH_S = 0.5
DEAD_S = 15.0
"""A link that brings nothing for so long is made anew, whatever else is heard of the hive."""
BACKOFF_FIRST_S = 0.25
BACKOFF_MOST_S = 2.0
CALL_TIMEOUT_S = 30.0
_FOR_GOOD = ("VERSION_SKEW", "MISSING_TOKEN", "BAD_TOKEN", "FORBIDDEN")
"""A hive that answers with one of these is alive, but of no use until a person does something."""


class Links:
    """One link a registered node; owner of the connections, not of what they tell."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        registry: Registry,
        feed: Feed,
        store: Store,
        clock: Clock,
    ) -> None:
        self._session = session
        self._registry = registry
        self._feed = feed
        self._store = store
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._settled: dict[str, asyncio.Event] = {}
        self._plugs: dict[str, socket.socket | None] = {}
        self._hives: dict[str, str] = {}
        """Nodes by the digest of their token."""
        self._log = logs.get("links")
        self.reach: Callable[[str, WorkerInfo], WorkerInfo] = _as_it_is
        """Turns a worker's address on its host into one that we get to."""
        self.far: Callable[[str], float] = self.distance
        """Seconds to a node and back, by whichever way it is reached."""

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Open the links to all nodes that were registered before."""
        self._group = group
        for value in (await self._store.documents(KIND)).values():
            self._open(NodeRegistration.read_json(value))

    async def register(self, registration: NodeRegistration) -> Node:
        """Know a node from now on, durably, and open its link (anew when its address changed)."""
        await self._store.put(KIND, registration.node_id, registration.dump_json())
        return self._open(registration)

    def attach(self, registration: NodeRegistration) -> Node:
        """Know a node for the life of this process: its address is made anew at each start."""
        return self._open(registration)

    async def forget(self, node_id: str) -> None:
        """Close the link and forget the node."""
        await self._store.delete(KIND, node_id)
        task = self._running.pop(node_id, None)
        if task is not None:
            task.cancel()
        self._plugs.pop(node_id, None)
        self._know(node_id, None)
        self._registry.remove_node(node_id)

    def hive_with(self, token: str) -> Identity | None:
        """The known hive whose own token this is."""
        node_id = self._hives.get(Secret(token).digest())
        return None if node_id is None else Identity(node_id, frozenset({Role.NODE}), node=node_id)

    def heard(self, node: Node, beat: Heartbeat | None) -> None:
        """A hive sent a heartbeat: it lives. Whether it can be reached, its link alone tells."""
        node.beat_at = self._clock.monotonic()
        if node.state in (NodeState.ONLINE, NodeState.SUSPECT):
            self._registry.sign_of_life(node)
        if beat is not None:
            self._registry.apply_telemetry(node, beat)

    def distance(self, node_id: str) -> float:
        """Seconds to a node and back, measured on its link; 0 where that is not known."""
        return round_trip(self._plugs.get(node_id))

    async def settled(self, timeout: float, node_id: str | None = None) -> None:
        """Wait until every known node (or one) has reported, at most `timeout` seconds."""
        events = list(self._settled.values()) if node_id is None else [self._settled[node_id]]
        try:
            async with asyncio.timeout(timeout):
                for event in events:
                    await event.wait()
        except TimeoutError:
            return

    async def call(
        self,
        node: Node,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        timeout: float = CALL_TIMEOUT_S,
    ) -> Any:
        """One call to a hive.

        Raises:
            RbeeError: what the hive refused with; `Unreachable` when it does not answer.
        """
        try:
            async with self._session.request(
                method,
                f"{node.registration.url}{path}",
                json=json_body,
                headers=self._headers(node.registration),
                timeout=aiohttp.ClientTimeout(total=timeout),
                ssl=pinned(node.registration.certificate),
            ) as response:
                raw = await response.read()
                self._registry.sign_of_life(node)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: an address or a token that no request can be made of.
            raise Unreachable(f"the hive on {node.id} does not answer: {why(error)}") from error
        body = _decode(raw)
        if response.status >= 400:
            raise from_body(body, response.status)
        return body

    async def stream(self, node: Node, path: str, *, json_body: Any) -> AsyncIterator[ServerEvent]:
        """The events that a hive answers a POST with (a model's download).

        Raises:
            RbeeError: what the hive refused with; `Unreachable` when it breaks off.
        """
        decoder = SseDecoder()
        try:
            async with self._session.post(
                f"{node.registration.url}{path}",
                json=json_body,
                headers=self._headers(node.registration) | {"Accept": "text/event-stream"},
                timeout=aiohttp.ClientTimeout(total=None, sock_read=60.0),
                ssl=pinned(node.registration.certificate),
            ) as response:
                if response.status >= 400:
                    raise from_body(_decode(await response.read()), response.status)
                if "event-stream" not in response.content_type:
                    return
                async for chunk in response.content.iter_any():
                    for event in decoder.feed(chunk):
                        yield event
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"the hive on {node.id} broke off: {why(error)}") from error

    def _open(self, registration: NodeRegistration) -> Node:
        assert self._group is not None  # noqa: S101 - started before anything is registered
        node = self._registry.nodes.get(registration.node_id)
        same = node is not None and node.registration == registration
        node = self._registry.add_node(registration)
        self._know(node.id, registration.token)
        running = self._running.get(node.id)
        if running is None or running.done() or not same:
            if running is not None:
                running.cancel()
            self._settled[node.id] = asyncio.Event()
            self._running[node.id] = self._group.create_task(
                self._keep(node), name=f"link {node.id}"
            )
        return node

    def _know(self, node_id: str, token: str | None) -> None:
        """Take a hive that shows this token for that node, and none that shows a former one."""
        self._hives = {digest: other for digest, other in self._hives.items() if other != node_id}
        if token:
            self._hives[Secret(token).digest()] = node_id

    async def _keep(self, node: Node) -> None:
        """Hold one link for good: read, and come back with growing patience."""
        wait = BACKOFF_FIRST_S
        own = asyncio.current_task()
        while True:
            node.last_sign = began = self._clock.monotonic()
            # One odd hive must not take the queen with it.
            await guarded(self._round(node), f"link {node.id}")
            if own is not None and own.cancelling():
                # Before Python 3.13 a task group loses a cancellation that comes as it fails.
                raise asyncio.CancelledError
            if node.last_sign != began:
                wait = BACKOFF_FIRST_S
            await asyncio.sleep(wait)
            wait = min(BACKOFF_MOST_S, wait * 2)

    async def _round(self, node: Node) -> None:
        """Hold the link once, and judge the node when it broke."""
        problem = await self._hold(node)
        self._log.info("link broke", node=node.id, problem=problem.message)
        if problem.code in _FOR_GOOD or not await self._alive(node):
            self._settled[node.id].set()
            beating = self._clock.monotonic() - node.beat_at < SUSPECT_S
            but = f"its heartbeats come, but {node.registration.url} fails: " if beating else ""
            self._registry.set_node_state(node, NodeState.OFFLINE, but + problem.message)

    async def _hold(self, node: Node) -> RbeeError:
        """Read the link until it breaks or falls silent; why it did."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(node))
                try:
                    await self._read(node)
                finally:
                    watching.cancel()
        except ExceptionGroup as broken:
            error: BaseException = broken
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if isinstance(error, RbeeError):
                return error
            if isinstance(error, aiohttp.ServerFingerprintMismatch):
                return _another_certificate(node, error)
            if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError, ValueError)):
                return Unreachable(why(error))
            raise
        return Unreachable("the hive closed the link")

    async def _read(self, node: Node) -> None:
        registration = node.registration
        name = registration.hostname or node.id
        async with self._session.get(
            f"{registration.url}/v1/events",
            headers=self._headers(registration),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=3.0, sock_read=DEAD_S),
            ssl=pinned(registration.certificate),
        ) as response:
            if response.connection is not None and response.connection.transport is not None:
                plug = response.connection.transport.get_extra_info("socket")
                self._plugs[node.id] = plug
            check_peer(
                response.headers,
                peer=f"hive on {name}",
                mend=f"rbee hive update {name}",
            )
            if response.status != 200:
                raise from_body(_decode(await response.read()), response.status)
            decoder = SseDecoder()
            async for chunk in response.content.iter_any():
                self._registry.sign_of_life(node)
                for event in decoder.feed(chunk):
                    self.take(node, event)

    async def _watch(self, node: Node) -> None:
        """Judge the node by its silence while the link is open.

        Raises:
            Unreachable: it is silent and its health cannot be had either.
        """
        while True:
            before = self._clock.monotonic()
            await asyncio.sleep(WATCH_S)
            now = self._clock.monotonic()
            if now - before > SUSPECT_S:
                # This process stood still; its silence says nothing about the node.
                node.last_sign = now
            if now - node.last_sign < SUSPECT_S:
                continue
            silence = f"no sign of life for {now - node.last_sign:.0f} s"
            self._registry.set_node_state(node, NodeState.SUSPECT, silence)
            if not await self._alive(node):
                self._registry.set_node_state(node, NodeState.OFFLINE, silence)
                raise Unreachable(silence)

    async def _alive(self, node: Node) -> bool:
        """Whether the hive answers now."""
        try:
            patience = PROBE_S + FAR * self.far(node.id)
            await self.call(node, "GET", "/health", timeout=patience)
        except RbeeError as error:
            return not isinstance(error, Unreachable)
        return True

    def take(self, node: Node, event: ServerEvent, kind: str | None = None) -> None:
        """One event of a hive (`kind`: whatever it is called); what we cannot read is left."""
        try:
            self._apply(node, kind or event.event, event.data)
        except (ValidationError, ValueError, KeyError) as error:
            self._log.warning(
                "event not understood", node=node.id, kind=event.event, problem=type(error).__name__
            )

    def _apply(self, node: Node, kind: str, data: str) -> None:
        registry = self._registry
        match kind:
            case "telemetry":
                registry.apply_telemetry(node, Telemetry.read_json(data))
                self._feed.telemetry(data)
            case "snapshot":
                snapshot = HiveSnapshot.read_json(data)
                workers = [self._reached(node, info) for info in snapshot.workers]
                registry.apply_snapshot(node, snapshot.model_copy(update={"workers": workers}))
                self._settled[node.id].set()
            case "worker":
                registry.apply_worker(node, self._reached(node, WorkerInfo.read_json(data)))
            case "worker_gone":
                registry.worker_gone(str(json.loads(data)["id"]), "its hive ended it")
            case "model":
                registry.apply_model(node, ModelFile.read_json(data))
            case "model_gone":
                registry.model_gone(node, str(json.loads(data)["id"]))
            case "pull":
                registry.apply_pull(node, PullProgress.read_json(data))
            case "narration":
                said = json.loads(data)
                level = said.get("level")
                self._feed.narrate(
                    str(said["text"]),
                    actor=node.id,
                    level=level if level in ("warning", "error") else "info",
                )
            case _:
                pass  # a newer hive may say more than we know

    def _reached(self, node: Node, info: WorkerInfo) -> WorkerInfo:
        """A worker with the address by which we get to it: through its hive's port, or a tunnel."""
        url = node.registration.url
        if info.url is not None and url.startswith("https:"):
            return info.model_copy(update={"url": f"{url}/v1/workers/{info.id}/{WORKER_WAY}"})
        return self.reach(node.id, info)

    @staticmethod
    def _headers(registration: NodeRegistration) -> dict[str, str]:
        headers = version_headers()
        if registration.token:
            headers["Authorization"] = f"Bearer {registration.token}"
        return headers


def _another_certificate(node: Node, error: aiohttp.ServerFingerprintMismatch) -> Refused:
    name = node.registration.hostname or node.id
    return Refused(
        f"{why(error)}: {name} was installed anew, or somebody else answers in its place. If you "
        f"know that it is right, `rbee hive start {name}` looks at it over SSH and takes it up",
        code="FORBIDDEN",
    )


def _as_it_is(_: str, info: WorkerInfo) -> WorkerInfo:
    return info


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
