"""A hive tells its queen of itself: where it is, and each second that it lives.

She reads its events all the same; a heartbeat comes by a connection of its own, so that one broken
connection is no silence.

Queue policy: a heartbeat that could not be sent in time gives way to the next one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

from rbee_agent.contracts.nodes import Heartbeat, NodeRegistration, PoolBeat, Telemetry
from rbee_agent.contracts.workers import WorkerInfo, WorkerState
from rbee_agent.errors import NotFound, RbeeError, Unreachable, from_body
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.http.peers import pinned, why
from rbee_agent.observe import logs
from rbee_agent.wire.versions import version_headers

RETRY_S = 2.0
REFUSED_RETRY_S = 5.0
"""Only a person can change that a queen does not want us; `rbee hive start` does so at once."""
REGISTER_TIMEOUT_S = 10.0
BEAT_TIMEOUT_S = 3.0
_REFUSED = ("BAD_TOKEN", "MISSING_TOKEN", "FORBIDDEN", "VERSION_SKEW")


@dataclass(frozen=True, slots=True)
class QueenAddress:
    """Where a queen hears heartbeats."""

    url: str
    certificate: str | None = None
    """SHA-256 of the only certificate that she may show."""


class Beats:
    """Registration and heartbeats; `run` is its whole life."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        queen: QueenAddress,
        said: NodeRegistration,
        feed: HiveFeed,
    ) -> None:
        """Prepare; `said` is what she is told first."""
        self._session = session
        self._queen = queen
        self._said = said
        self._feed = feed
        self._latest: Heartbeat | None = None
        self._fresh = asyncio.Event()
        self._problem: str | None = "nothing is known yet"
        self._headers = version_headers()
        # She knows the hive's own token from whoever introduced it; a stranger brings a key.
        own = said.token if queen.url.startswith("https:") else None
        token = os.environ.get("RBEE_QUEEN_TOKEN") or own
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def beat(self, heartbeat: Heartbeat) -> None:
        """Have this one sent next."""
        self._latest = heartbeat
        self._fresh.set()

    async def run(self) -> None:
        """Register, send heartbeats, and begin again when she does not know us any more."""
        while True:
            pause = RETRY_S
            try:
                await self._send("/v2/nodes/register", self._said.dump(), REGISTER_TIMEOUT_S)
                self._tell(None)
                await self._keep_beating()
            except NotFound:
                pass  # she does not know us any more
            except RbeeError as error:
                self._tell(error.message)
                pause = REFUSED_RETRY_S if error.code in _REFUSED else RETRY_S
            await asyncio.sleep(pause)

    async def _keep_beating(self) -> None:
        """Send each heartbeat as it comes; one that is lost is followed by the next.

        Raises:
            NotFound: she does not know this hive.
            RbeeError: she refuses it.
        """
        path = f"/v2/nodes/{self._said.node_id}/heartbeat"
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if self._latest is None:
                continue
            try:
                await self._send(path, self._latest.dump(), BEAT_TIMEOUT_S)
            except Unreachable as error:
                self._tell(error.message)
            else:
                self._tell(None)

    async def _send(self, path: str, body: object, timeout: float) -> None:
        try:
            async with self._session.post(
                f"{self._queen.url}{path}",
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                ssl=pinned(self._queen.certificate),
            ) as answer:
                if answer.status >= 400:
                    raise from_body(await answer.json(), answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(why(error)) from error

    def _tell(self, problem: str | None) -> None:
        """Say once what is wrong, and once that it is right again."""
        if problem == self._problem:
            return
        self._problem = problem
        where = f"the queen at {self._queen.url}"
        if problem is None:
            logs.get("hive").info("registered", queen=self._queen.url)
        else:
            hint = "`rbee hive start` introduces this hive anew"
            logs.get("hive").warning("no heartbeats", queen=self._queen.url, problem=problem)
            self._feed.narrate(f"{where} gets no heartbeats: {problem}; {hint}", level="warning")


def heartbeat(
    telemetry: Telemetry, workers: Iterable[WorkerInfo], models: Iterable[str]
) -> Heartbeat:
    """What a host tells of itself each second."""
    pools: dict[tuple[str, str], PoolBeat] = {}
    for info in workers:
        if info.state is not WorkerState.READY:
            continue
        before = pools.get((info.model, info.device))
        pools[info.model, info.device] = PoolBeat(
            model=info.model,
            device=info.device,
            workers=1 + (before.workers if before else 0),
            slots=info.slots + (before.slots if before else 0),
            slots_busy=info.slots_busy + (before.slots_busy if before else 0),
        )
    return Heartbeat(
        **{name: getattr(telemetry, name) for name in Telemetry.model_fields},
        pools=list(pools.values()),
        models=list(models),
    )
