"""The queen put together: every part made once, started and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from rbee_agent import __version__
from rbee_agent.adapters.base import Adapter
from rbee_agent.adapters.llama_server import LlamaServerAdapter
from rbee_agent.adapters.openai_http import OpenAiAdapter
from rbee_agent.adapters.worker import WorkerAdapter
from rbee_agent.contracts.events import FleetSnapshot, QueenInfo
from rbee_agent.contracts.ids import IdFactory, new_id
from rbee_agent.contracts.models import CatalogModel
from rbee_agent.contracts.nodes import NodeRegistration
from rbee_agent.contracts.tasks import Accepted, TaskInfo, TaskRequest
from rbee_agent.contracts.workers import WorkerReady
from rbee_agent.errors import RbeeError, Unavailable
from rbee_agent.observe import logs
from rbee_agent.queen.admission import Admission
from rbee_agent.queen.attempt import Attempts
from rbee_agent.queen.catalog import Catalog
from rbee_agent.queen.deployments import Deployments
from rbee_agent.queen.dispatch import Dispatcher
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.forecast import Forecast
from rbee_agent.queen.gauges import gauges
from rbee_agent.queen.guard import begin, begin_into
from rbee_agent.queen.hosts import Hosts
from rbee_agent.queen.housekeeping import Housekeeping
from rbee_agent.queen.links import Links
from rbee_agent.queen.local import local_hive
from rbee_agent.queen.metrics import QueenMetrics
from rbee_agent.queen.policy import Policy
from rbee_agent.queen.pools import Pools
from rbee_agent.queen.prediction import Predictor
from rbee_agent.queen.queue import TaskQueue
from rbee_agent.queen.readers import Readers, entered
from rbee_agent.queen.recovery import recover
from rbee_agent.queen.registry import Registry
from rbee_agent.queen.reporting import Reporter
from rbee_agent.queen.sessions import Sessions
from rbee_agent.queen.statics import Statics, StaticWorker
from rbee_agent.queen.stream import ClientFrame
from rbee_agent.queen.tap import Tap
from rbee_agent.queen.task import Task
from rbee_agent.queen.tasks import Tasks, no_task
from rbee_agent.queen.views import node_info, worker_info
from rbee_agent.runtime.clock import Clock, SystemClock
from rbee_agent.security.access import Access
from rbee_agent.security.keys import Identity, KeyRing
from rbee_agent.settings.config import QueenSettings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret
from rbee_agent.store.base import Store
from rbee_agent.store.journal import Journals
from rbee_agent.store.sqlite import SqliteStore

T = TypeVar("T")
REGISTER_WAIT_S = 2.0


@dataclass(slots=True)
class QueenOptions:
    """What a queen is made from; everything else has a default for production."""

    places: Places
    settings: QueenSettings
    clock: Clock = field(default_factory=SystemClock)
    new_id: IdFactory = new_id
    builtin: list[CatalogModel] = field(default_factory=list)
    finds_local_hive: bool = True
    extra_adapters: Mapping[str, Adapter] = field(default_factory=dict)
    static_workers: list[StaticWorker] = field(default_factory=list)
    upstream_token: Secret | None = None


class Queen:
    """Make with :meth:`open`, run with :meth:`run`; the parts are its attributes."""

    def __init__(self, options: QueenOptions, store: Store, session: aiohttp.ClientSession) -> None:
        settings, clock = options.settings, options.clock
        self.options = options
        self.settings = settings
        self.clock = clock
        self.store = store
        self.started_at = clock.utc()
        self.feed = Feed(clock, epoch=options.new_id("q").removeprefix("q-"))
        self.metrics = QueenMetrics()
        self.registry = Registry(self.feed, clock)
        self.sessions = Sessions(clock, settings.session_ttl_s)
        queue = TaskQueue()
        forecast = Forecast(Predictor(), queue, self.registry, self.sessions)
        self.tasks = Tasks(
            store,
            self.feed,
            clock,
            sessions=self.sessions,
            metrics=self.metrics,
            queue=queue,
            forecast=forecast,
        )
        self.journals = Journals(options.places.journals)
        self.catalog = Catalog(store, self.feed, self.registry, options.builtin)
        self.keys = KeyRing(store, clock)
        self.access = Access(self.keys, open=settings.token is None)
        self.links = Links(session, self.registry, self.feed, store, clock)
        self.hosts = Hosts(store, self.links, self.feed, clock, options.places.state)
        adapters: dict[str, Adapter] = {
            "rbee": WorkerAdapter(session),
            "llama": LlamaServerAdapter(session),
            "openai": OpenAiAdapter(session),
            **options.extra_adapters,
        }
        self.policy = Policy(
            store, self.feed, self.metrics, fail_closed=settings.policy_fail_closed
        )
        self.attempts = Attempts(self.tasks, self.registry, adapters, clock)
        self.dispatcher = Dispatcher(
            self.tasks,
            self.registry,
            self.attempts,
            clock,
            policy=self.policy,
            strategy=settings.strategy,
        )
        self.attempts.distance = self.hosts.distance
        self.statics = Statics(
            list(options.static_workers), self.registry, adapters, options.upstream_token
        )
        self.deployments = Deployments(
            store=store,
            feed=self.feed,
            registry=self.registry,
            links=self.links,
            catalog=self.catalog,
            tasks=self.tasks,
            policy=self.policy,
            clock=clock,
            new_id=options.new_id,
            idle_unload_s=settings.idle_unload_s,
        )
        self.pools = Pools(
            self.registry,
            self.deployments,
            self.feed,
            clock,
            move=self.dispatcher.worker_lost,
        )
        self.admission = Admission(
            tasks=self.tasks,
            registry=self.registry,
            catalog=self.catalog,
            store=store,
            journals=self.journals,
            settings=settings,
            clock=clock,
            new_id=options.new_id,
            policy=self.policy,
            forecast=forecast,
            on_accepted=self._accepted,
        )
        self.feed.source("policy", self._policy_data)
        self.tap = Tap(self.tasks, clock)
        self.ready = False
        self._readers = Readers(self.tasks, settings, self.later)
        self._housekeeping = Housekeeping(
            self.tasks,
            self.registry,
            self.dispatcher,
            Reporter(self.tasks, self.deployments.steps),
            store,
            settings,
            clock,
        )
        self._session = session
        self._group: asyncio.TaskGroup | None = None
        self._log = logs.get("queen")
        self.dispatcher.wants = self.deployments.wanted_by
        self.deployments.on_news = self.dispatcher.poke
        self.tasks.later = self.later
        self.tasks.own = self.own
        self.tasks.on_end = self.tap.ended
        self.registry.on_loaded = self.metrics.model_load_seconds.observe
        self.metrics.watch(lambda: gauges(self.tasks.queue, self.registry, self.catalog))

    @classmethod
    async def open(cls, options: QueenOptions) -> Queen:
        """Open the store and the folders.

        Raises:
            RbeeError: the store cannot be opened; says why.
        """
        store = await SqliteStore.open(options.places.database)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
        # A long token frame is still one frame; 2**16 would pause the socket needlessly often.
        session = aiohttp.ClientSession(connector=connector, read_bufsize=2**18, trust_env=False)
        return cls(options, store, session)

    async def run(self, stop: asyncio.Event) -> None:
        """Recover what a former queen left, then work until `stop` is set.

        Running tasks are left as they are: the next queen resumes them.
        """
        try:
            await self._prepare()
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self.links.start(group)
                await self.hosts.start(group)
                await self._find_local_hive()
                self.statics.start(group)
                await recover(self)
                await self.deployments.start(group)
                self.dispatcher.start(group)
                group.create_task(self._housekeeping.run(), name="housekeeping")
                self.ready = True
                self.feed.narrate(f"the queen {__version__} is here")
                await stop.wait()
                self.ready = False
                self._group = None
                self.dispatcher.stop()
                self.deployments.stop()
                self.feed.close()
                raise _Stopped
        except* _Stopped:
            self._log.info("stopping", open_tasks=len(self.tasks.queue.open))
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the files and connections; `run` does it at its end."""
        for task in self.tasks.queue.open.values():
            task.journal.close()
        self.hosts.close()
        await self.policy.close()
        await self._session.close()
        await self.store.close()

    # -- for the routes ---------------------------------------------------------------------

    def frames(
        self, task: Task, *, after: str | None = None, verbose: bool = False
    ) -> AsyncGenerator[list[ClientFrame], bool | None]:
        """A task's frames to its end; see :meth:`Readers.frames`."""
        return self._readers.frames(task, after=after, verbose=verbose)

    async def submit(
        self, request: TaskRequest, who: Identity
    ) -> tuple[Task, AsyncGenerator[list[ClientFrame], bool | None]]:
        """Hand in a task within this process and get its frames: the seam of the other APIs.

        Close the generator (`contextlib.aclosing`) when the caller goes: that cancels the task at
        once, and so does a restart of the queen, for nobody could ever ask for its answer.

        Raises:
            RbeeError: as `POST /v2/tasks`.
        """
        held = request.model_copy(update={"reconnect_grace_ms": 0})
        task, _, _ = await entered(self.own(self.admission.submit(held, who)), self.abandon)
        if task is None:
            raise RbeeError("the task has ended already", code="CONFLICT")
        return task, self.frames(task)

    async def enter(self, request: TaskRequest, who: Identity) -> Accepted:
        """Hand in a task whose frames the same request reads: a caller that goes is its reader.

        Raises:
            RbeeError: as `POST /v2/tasks`.
        """
        entering = self.own(self.admission.submit(request, who))
        return (await entered(entering, self._readers.gone))[1]

    def abandon(self, task: Task) -> None:
        """Cancel a task whose only caller is gone, at once and also where nobody ever read it."""
        if not task.state.final:
            self._readers.unread(task)

    async def find_info(self, job_id: str, who: Identity) -> TaskInfo:
        """One task, from memory or the store.

        Raises:
            NotFound: there is none, or it is another key's.
        """
        task = self.tasks.find(job_id)
        if task is not None:
            if not who.may_read(task.owner):
                raise no_task(job_id)
            return self.tasks.info(task)
        record = await self.store.task(job_id)
        if record is None or not who.may_read(record.owner):
            raise no_task(job_id)
        return TaskInfo.read_json(record.info)

    def snapshot(self) -> FleetSnapshot:
        """The whole fleet now: what a reader of the feed begins with."""
        tasks = dict(self.tasks.recent)
        tasks |= {task.job_id: self.tasks.info(task) for task in self.tasks.queue.open.values()}
        pulls = [pull for node in self.registry.nodes.values() for pull in node.pulls.values()]
        return FleetSnapshot.model_construct(
            seq=self.feed.seq,
            at=self.clock.utc(),
            queen=QueenInfo.model_construct(
                version=__version__,
                started_at=self.started_at,
                epoch=self.feed.epoch,
                queue_depth=self.tasks.queue.depth,
                queue_limit=self.settings.queue_limit,
                running=self.tasks.queue.running,
                policy=script.name if (script := self.policy.script) else self.settings.strategy,
            ),
            nodes=[node_info(node) for node in self.registry.nodes.values()],
            workers=[worker_info(w) for w in self.registry.workers.values()],
            tasks=list(tasks.values()),
            models=self.catalog.all(),
            deployments=list(self.deployments.wishes),
            pulls=pulls,
            narration=list(self.feed.narration),
        )

    async def register_node(self, registration: NodeRegistration) -> None:
        """Know a hive from now on; returns when it has reported, or after a moment without."""
        await self.links.register(registration)
        await self.links.settled(REGISTER_WAIT_S, registration.node_id)

    def static_ready(self, ready: WorkerReady) -> None:
        """A worker with no hive called back."""
        if self._group is not None:
            self.statics.add(ready, self._group)

    def own(self, work: Coroutine[Any, Any, T], /) -> asyncio.Future[T]:
        """Begin work that a request waits for, but that goes on when the caller hangs up.

        Its errors are the waiting caller's: they never reach the queen's group.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._group is None:
            work.close()
            future.set_exception(Unavailable("the queen is stopping", code="STORE_UNAVAILABLE"))
        else:
            begin_into(self._group, work, future)
        return future

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that no request waits for; the queen's group owns it."""
        if self._group is None:
            work.close()
            return
        begin(self._group, work, "later")

    # -- inside -----------------------------------------------------------------------------

    async def _prepare(self) -> None:
        self.journals.prepare()
        await self.catalog.load()
        await self.keys.load()
        await self.policy.load()
        from rbee_agent.contracts.keys import Role
        from rbee_agent.runtime.files import secret_file

        path = self.options.places.admin_token
        admin = await asyncio.to_thread(secret_file, path, Secret.new().reveal())
        self.keys.add_static(Secret(admin), "admin", [Role.ADMIN])
        if self.settings.token is not None:
            self.keys.add_static(Secret(self.settings.token), "configured", [Role.ADMIN])

    async def _find_local_hive(self) -> None:
        """Register the hive that this user runs on this machine, if there is one."""
        registration = local_hive(self.options.places) if self.options.finds_local_hive else None
        if registration is not None:
            await self.links.register(registration)

    def _accepted(self, task: Task) -> None:
        self.dispatcher.offer(task)

    def _policy_data(self, _: str) -> dict[str, Any] | None:
        script = self.policy.script
        return None if script is None else {"name": script.name, "hooks": list(script.hooks)}


class _Stopped(Exception):
    """Ends the queen's task group when it is told to stop."""
