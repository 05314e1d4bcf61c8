"""What the control center needs of the queen's client: the SDK has it, a test's fake is small."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from rbee_agent.contracts.explain import Explanation
from rbee_agent.contracts.models import PullBegun, VerifyReport
from rbee_agent.contracts.policy import PolicyInForce, PolicyTrial
from rbee_agent.contracts.pools import Deployment, DeploymentRequest
from rbee_agent.contracts.sessions import SessionInfo
from rbee_agent.contracts.tasks import Accepted, TaskRequest
from rbee_agent.wire.sse import ServerEvent


class FeedSource(Protocol):
    """The two streams that the screens live on; both end or raise when the link breaks."""

    def events(
        self, last_event_id: str | None = None, *, reconnect: float = ...
    ) -> AsyncGenerator[ServerEvent, None]:
        """The fleet's events, from a snapshot or behind the given id.

        Args:
            last_event_id: go on behind this event.
            reconnect: seconds that the client mends breaks by itself; the feed asks for none,
                because a break that nobody sees would be stale data shown as live.
        """
        ...

    def tap(self, *, reconnect: float = ...) -> AsyncGenerator[ServerEvent, None]:
        """What running streams say, coalesced and lossy."""
        ...


class QueenLink(FeedSource, Protocol):
    """The feed and the actions; each action raises `rbee_agent.errors.RbeeError`."""

    async def submit(self, request: TaskRequest) -> Accepted:
        """Send a task."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Cancel a task; done twice it is done once."""
        ...

    async def spawn(self, request: DeploymentRequest) -> Deployment:
        """Wish for workers of a model."""
        ...

    async def stop_worker(self, worker_id: str) -> None:
        """Stop a worker and the wish for it."""
        ...

    async def worker_logs(self, worker_id: str, *, lines: int | None = None) -> list[str]:
        """A worker's last log lines."""
        ...

    async def drain_node(self, node_id: str, *, drain: bool = True) -> None:
        """Let a host finish what it does."""
        ...

    async def pull(self, model_id: str, *, node_id: str | None = None) -> PullBegun:
        """Have a model fetched onto a host."""
        ...

    async def verify_model(self, model_id: str) -> VerifyReport:
        """Have a model's bytes hashed."""
        ...

    async def remove_model(self, model_id: str) -> None:
        """Take a model out of the catalog."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Forget a session."""
        ...

    async def session(self, session_id: str) -> SessionInfo:
        """What the queen knows of a session."""
        ...

    async def policy(self) -> PolicyInForce:
        """The policy script in force."""
        ...

    async def check_policy(self, name: str, source: str) -> PolicyTrial:
        """Try a script; nothing changes."""
        ...

    async def put_policy(self, name: str, source: str) -> PolicyInForce:
        """Let a script decide."""
        ...

    async def drop_policy(self) -> None:
        """Go back to the built-in policy."""
        ...

    async def explain(self, job_id: str) -> Explanation:
        """Why a task runs where it runs, or why it waits."""
        ...

    def task_events(
        self, job_id: str, last_event_id: str | None = None, *, verbose: bool = False
    ) -> AsyncGenerator[ServerEvent, None]:
        """One task's frames."""
        ...
