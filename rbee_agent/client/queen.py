"""The queen's API, typed. Everything that rbee's own commands and control center do goes here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from rbee_agent.client.locate import Address
from rbee_agent.client.resume import RECONNECT_S, OnBreak, resumed
from rbee_agent.client.transport import DEFAULT_TIMEOUT_S, Params, Peer, Transport
from rbee_agent.contracts.ids import new_id
from rbee_agent.wire.sse import ServerEvent

if TYPE_CHECKING:
    import httpx

    from rbee_agent.client.frames import Answer
    from rbee_agent.contracts.keys import KeyInfo, Role
    from rbee_agent.contracts.models import CatalogModel
    from rbee_agent.contracts.nodes import NodeInfo, NodeRegistration
    from rbee_agent.contracts.pools import Deployment, DeploymentRequest, PoolInfo
    from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest
    from rbee_agent.contracts.workers import WorkerInfo

FINAL_EVENTS = frozenset({"end", "error"})
START_HINT = "start one with `rbee up`, or name another with --queen or RBEE_QUEEN_URL"


class QueenClient:
    """One queen. An async context manager; one client serves any number of calls at once.

    Every method raises :class:`~rbee_agent.errors.RbeeError`: `Unreachable` where nobody answers,
    else the class of the code that the queen refused with.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = 2,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare to call the queen at `url`.

        Args:
            url: such as ``http://127.0.0.1:8080``.
            token: an API key; a queen on loopback may ask for none.
            timeout: seconds that one call may take with all its retries (streams have their own).
            retries: further tries after an answer that says "later"; Retry-After is honoured.
            http: a client to use instead of an own one.
        """
        self.url = url.rstrip("/")
        self._transport = Transport(
            Peer("queen", self.url, START_HINT),
            token,
            timeout=timeout,
            retries=retries,
            http=http,
        )

    @classmethod
    def at(cls, address: Address, *, timeout: float = DEFAULT_TIMEOUT_S) -> Self:
        """The client for an address that `find_queen` found."""
        return cls(address.url, address.token, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def raw(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Params | None = None,
        timeout: float | None = None,
    ) -> Any:
        """One call by its path: decoded JSON as the queen sent it, validated by nobody."""
        return await self._transport.call(method, path, json=json, params=params, timeout=timeout)

    # -- the queen herself ----------------------------------------------------------------

    async def health(self, *, timeout: float = 5.0) -> dict[str, Any]:
        """``GET /health``."""
        return _object(await self.raw("GET", "/health", timeout=timeout))

    async def version(self) -> dict[str, Any]:
        """``GET /v2/meta/version``."""
        return _object(await self.raw("GET", "/v2/meta/version"))

    async def capabilities(self) -> dict[str, Any]:
        """``GET /v2/meta/capabilities``."""
        return _object(await self.raw("GET", "/v2/meta/capabilities"))

    def events(
        self, last_event_id: str | None = None, *, reconnect: float = RECONNECT_S
    ) -> AsyncGenerator[ServerEvent, None]:
        """The fleet's event feed: a snapshot, then every change; resumes by itself, never ends."""
        return resumed(
            self._transport, "/v2/events", last_event_id=last_event_id, reconnect=reconnect
        )

    def tap(self, *, reconnect: float = RECONNECT_S) -> AsyncGenerator[ServerEvent, None]:
        """What all running streams say, coalesced and lossy: for watchers. Never ends."""
        return resumed(self._transport, "/v2/streams/tap", reconnect=reconnect)

    # -- work -----------------------------------------------------------------------------

    async def submit(self, request: TaskRequest, *, timeout: float | None = None) -> Accepted:
        """Hand in a task; it is durable when this returns.

        A request without a `task_id` gets one, so that trying again is harmless.
        """
        from rbee_agent.contracts.tasks import Accepted

        if request.task_id is None:
            request = request.model_copy(update={"task_id": new_id("task")})
        body = await self._transport.call(
            "POST", "/v2/tasks", json=request, timeout=timeout, reconnect=True
        )
        return Accepted.read(body)

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
        """A task's frames up to its ``end`` or ``error``, resumed across breaks without loss."""
        return resumed(
            self._transport,
            f"/v2/tasks/{quote(job_id, safe='')}/events",
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
        accepted = await self.submit(request, timeout=timeout)
        ended = False
        events = self.task_events(
            accepted.job_id,
            verbose=verbose,
            reconnect=reconnect,
            deadline=deadline,
            on_break=on_break,
        )
        try:
            async with aclosing(events) as frames:
                async for event in frames:
                    ended = event.event in FINAL_EVENTS
                    yield event
        finally:
            if not ended:
                await self._let_go(accepted.job_id)

    async def text(
        self, request: TaskRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[str, None]:
        """The answer's text, piece by piece.

        Raises:
            RbeeError: the task ended with an error.
        """
        import json

        from rbee_agent.client.frames import token_texts
        from rbee_agent.errors import from_body

        async with aclosing(self.stream(request, timeout=timeout)) as events:
            async for event in events:
                if event.event == "token":
                    for text, channel in token_texts(event):
                        if channel == "content":
                            yield text
                elif event.event == "error":
                    raise from_body({"error": json.loads(event.data)})

    async def run(self, request: TaskRequest, *, timeout: float | None = None) -> Answer:
        """The whole answer.

        Raises:
            RbeeError: the task ended with an error.
        """
        from rbee_agent.client.frames import Answer, gather

        if request.task_id is None:
            request = request.model_copy(update={"task_id": new_id("task")})
        answer = Answer(job_id=request.task_id or "", model=request.model)
        async with aclosing(self.stream(request, timeout=timeout)) as events:
            return await gather(answer, events)

    async def _let_go(self, job_id: str) -> None:
        """Cancel a task that nobody reads any more; a queen that is gone cannot be told."""
        from rbee_agent.errors import RbeeError

        try:
            await asyncio.shield(self.cancel(job_id, timeout=3.0))
        except RbeeError:
            return

    async def task(self, job_id: str) -> TaskInfo:
        """One task's state and timings."""
        from rbee_agent.contracts.tasks import TaskInfo

        return TaskInfo.read(await self.raw("GET", f"/v2/tasks/{quote(job_id, safe='')}"))

    async def tasks(self, *, state: str | None = None, limit: int | None = None) -> list[TaskInfo]:
        """Tasks, newest first."""
        from rbee_agent.contracts.tasks import TaskInfo

        body = await self.raw("GET", "/v2/tasks", params={"state": state, "limit": limit})
        return [TaskInfo.read(item) for item in items(body, "tasks")]

    async def cancel(self, job_id: str, *, timeout: float | None = None) -> None:
        """Cancel a task; harmless when it has ended."""
        await self._transport.call(
            "POST",
            f"/v2/tasks/{quote(job_id, safe='')}/cancel",
            timeout=timeout,
            reconnect=True,
        )

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why a task ran where it ran, or why it waits."""
        return _object(await self.raw("GET", f"/v2/tasks/{quote(job_id, safe='')}/explain"))

    async def session(self, session_id: str) -> dict[str, Any]:
        """A session's turns, time left and budgets."""
        return _object(await self.raw("GET", f"/v2/sessions/{quote(session_id, safe='')}"))

    async def end_session(self, session_id: str) -> None:
        """Forget a session."""
        await self.raw("DELETE", f"/v2/sessions/{quote(session_id, safe='')}")

    # -- hosts ----------------------------------------------------------------------------

    async def nodes(self) -> list[NodeInfo]:
        """The hosts that run a hive."""
        from rbee_agent.contracts.nodes import NodeInfo

        return [NodeInfo.read(item) for item in items(await self.raw("GET", "/v2/nodes"), "nodes")]

    async def register_node(self, registration: NodeRegistration) -> dict[str, Any]:
        """Tell the queen of a hive that she can reach."""
        return _object(await self.raw("POST", "/v2/nodes/register", json=registration))

    async def drain_node(self, node_id: str, *, drain: bool = True) -> None:
        """Let a host finish what it does and give it nothing new; or take it back."""
        path = f"/v2/nodes/{quote(node_id, safe='')}/drain"
        await self.raw("POST", path, json={"drain": drain})

    async def remove_node(self, node_id: str) -> None:
        """Forget a host."""
        await self.raw("DELETE", f"/v2/nodes/{quote(node_id, safe='')}")

    # -- workers --------------------------------------------------------------------------

    async def workers(self) -> list[WorkerInfo]:
        """The workers of all hosts."""
        from rbee_agent.contracts.workers import WorkerInfo

        body = await self.raw("GET", "/v2/workers")
        return [WorkerInfo.read(item) for item in items(body, "workers")]

    async def spawn(
        self, request: DeploymentRequest, *, timeout: float | None = None
    ) -> Deployment:
        """Wish for workers of a model; the queen keeps the wish true."""
        from rbee_agent.contracts.pools import Deployment

        return Deployment.read(await self.raw("POST", "/v2/workers", json=request, timeout=timeout))

    async def stop_worker(self, worker_id: str, *, timeout: float | None = None) -> None:
        """Stop a worker and withdraw the wish behind it."""
        await self.raw("DELETE", f"/v2/workers/{quote(worker_id, safe='')}", timeout=timeout)

    async def worker_logs(self, worker_id: str, *, lines: int | None = None) -> list[str]:
        """A worker's last log lines."""
        path = f"/v2/workers/{quote(worker_id, safe='')}/logs"
        body = await self.raw("GET", path, params={"lines": lines})
        if isinstance(body, str):
            return body.splitlines()
        return [str(line) for line in items(body, "lines")]

    async def deployments(self) -> list[Deployment]:
        """The wishes that the queen keeps."""
        from rbee_agent.contracts.pools import Deployment

        body = await self.raw("GET", "/v2/deployments")
        return [Deployment.read(item) for item in items(body, "deployments")]

    async def pools(self) -> list[PoolInfo]:
        """Workers by model, host and device."""
        from rbee_agent.contracts.pools import PoolInfo

        return [PoolInfo.read(item) for item in items(await self.raw("GET", "/v2/pools"), "pools")]

    # -- models ---------------------------------------------------------------------------

    async def models(self) -> list[CatalogModel]:
        """The models that the queen knows by name."""
        from rbee_agent.contracts.models import CatalogModel

        body = await self.raw("GET", "/v2/catalog/models")
        return [CatalogModel.read(item) for item in items(body, "models")]

    async def model(self, model_id: str) -> CatalogModel:
        """One model of the catalog."""
        from rbee_agent.contracts.models import CatalogModel

        path = f"/v2/catalog/models/{quote(model_id, safe='')}"
        return CatalogModel.read(await self.raw("GET", path))

    async def add_model(self, model: CatalogModel) -> CatalogModel:
        """Put a model into the catalog."""
        from rbee_agent.contracts.models import CatalogModel

        return CatalogModel.read(await self.raw("POST", "/v2/catalog/models", json=model))

    async def remove_model(self, model_id: str) -> None:
        """Take a model out of the catalog; files stay where they are."""
        await self.raw("DELETE", f"/v2/catalog/models/{quote(model_id, safe='')}")

    async def availability(self) -> dict[str, Any]:
        """Which host has which model."""
        return _object(await self.raw("GET", "/v2/catalog/availability"))

    async def pull(self, model_id: str, *, node_id: str | None = None) -> dict[str, Any]:
        """Have a model fetched onto a host; progress comes in the event feed."""
        path = f"/v2/catalog/models/{quote(model_id, safe='')}/pull"
        return _object(await self.raw("POST", path, json=_given(node_id=node_id)))

    async def verify_model(self, model_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Have the bytes of a model hashed wherever it lies."""
        path = f"/v2/catalog/models/{quote(model_id, safe='')}/verify"
        return _object(await self.raw("POST", path, json={}, timeout=timeout))

    # -- policy ---------------------------------------------------------------------------

    async def policy(self) -> dict[str, Any]:
        """The policy script in force under `policy` (None: the built-in one), and the strategy."""
        return _object(await self.raw("GET", "/v2/policy"))

    async def check_policy(self, name: str, source: str) -> dict[str, Any]:
        """What a script would answer now: its hooks and their answers; nothing changes."""
        body = {"name": name, "source": source}
        return _object(await self.raw("POST", "/v2/policy/check", json=body))

    async def put_policy(self, name: str, source: str) -> dict[str, Any]:
        """Let a script decide; refused with its place where it does not load."""
        return _object(await self.raw("PUT", "/v2/policy", json={"name": name, "source": source}))

    async def drop_policy(self) -> None:
        """Go back to the built-in policy."""
        await self.raw("DELETE", "/v2/policy")

    # -- keys -----------------------------------------------------------------------------

    async def keys(self) -> list[KeyInfo]:
        """The API keys, without their secrets."""
        from rbee_agent.contracts.keys import KeyInfo

        return [KeyInfo.read(item) for item in items(await self.raw("GET", "/v2/keys"), "keys")]

    async def create_key(self, name: str, roles: list[Role]) -> dict[str, Any]:
        """Make a key; the answer holds its secret, once."""
        body = {"name": name, "roles": [str(role) for role in roles]}
        return _object(await self.raw("POST", "/v2/keys", json=body))

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key at once."""
        await self.raw("DELETE", f"/v2/keys/{quote(key_id, safe='')}")


def items(body: Any, key: str) -> list[Any]:
    """The list in an answer, whether it stands alone or under its noun."""
    found = body.get(key, []) if isinstance(body, dict) else body
    return found if isinstance(found, list) else []


def _object(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else {}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
