"""The hive as a daemon: one host's devices, models and workers behind HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable

import aiohttp
import psutil

from rbee_agent import __version__
from rbee_agent.contracts.ids import new_id
from rbee_agent.contracts.models import CatalogModel, ModelFile, PullProgress
from rbee_agent.contracts.nodes import HiveIdentity, HiveSnapshot, NodeRegistration, Telemetry
from rbee_agent.contracts.routes import HIVE_TLS_PORT
from rbee_agent.errors import Conflict, RbeeError
from rbee_agent.hive import backends
from rbee_agent.hive.api import make_app
from rbee_agent.hive.beats import Beats, QueenAddress, heartbeat
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.feed import HiveFeed
from rbee_agent.hive.identity import identity, node_id, token
from rbee_agent.hive.pulls import Puller
from rbee_agent.hive.shelf import Shelf
from rbee_agent.hive.workers import Workers
from rbee_agent.http.server import Server
from rbee_agent.observe import logs
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.runtime.locks import held
from rbee_agent.runtime.processes import Identity
from rbee_agent.security.certificate import own_certificate
from rbee_agent.settings.config import Settings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret
from rbee_agent.wire.addresses import check_peer_url, check_plain, listen_address, url_of

TELEMETRY_S = 1.0
LOCK_S = 60.0
"""A `rbee-hive worker spawn` without a daemon holds the workers for as long as one loads."""


class Hive:
    """Everything of one host. `run` is its whole life as a daemon."""

    def __init__(self, places: Places, settings: Settings, clock: Clock) -> None:
        """Read who this hive is; nothing is bound or started yet."""
        self.places = places
        self.settings = settings.hive
        self.clock = clock
        self.node_id = node_id(places, new_id)
        self.token = token(places)
        self.feed = HiveFeed()
        self.devices = Devices()
        self.shelf = Shelf(places, clock)
        self.pulls: dict[str, PullProgress] = {}
        self._defaults = settings.worker
        self._puller = Puller(
            places,
            self.shelf,
            clock,
            keep_disk_free=settings.hive.keep_disk_free,
            env=dict(os.environ),
        )
        self.ready = False
        """Whether the workers that live are taken up again; until then requests are put off."""
        self._closing = threading.Event()
        self._unhashed = asyncio.Event()
        self._beats: Beats | None = None
        self._identity = identity(self.node_id, backends=[], settings=self.settings, clock=clock)

    async def run(self, stop: asyncio.Event, *, host: str, port: int) -> None:
        """Serve until `stop` is set. Workers outlive it: the next start adopts them.

        Raises:
            Conflict: the port is in use, or this user's hive runs already.
            Refused: others could read what is said there.
        """
        check_plain(host, tls=f"rbee-hive serve --listen {host}:{HIVE_TLS_PORT}")
        if self.settings.queen is not None:
            check_peer_url(self.settings.queen, what="hive.queen")
        self._refuse_second()
        callback_token = Secret.new()
        async with (
            held(self.places.workers_lock, timeout=LOCK_S, what="this user's hive"),
            # As many streams as workers have slots pass through this session.
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            self.workers = Workers(
                node_id=self.node_id,
                places=self.places,
                defaults=self._defaults,
                port_first=self.settings.worker_port_first,
                devices=self.devices,
                shelf=self.shelf,
                feed=self.feed,
                session=session,
                callback_token=callback_token,
                clock=self.clock,
                new_id=new_id,
            )
            app = make_app(self, callback_token, session)
            server = Server(app, shutdown_timeout=1.0)
            try:
                await server.start(host, port, choose="--port N, or RBEE_HIVE_PORT=N")
                url = f"http://{host}:{server.port}"
                said = await self._open_port(server, url)
                async with asyncio.TaskGroup() as group:
                    await self._begin(group, session, url, said)
                    await stop.wait()
                    raise _StopError
            except* _StopError:
                logs.get("hive").info("stopping; workers stay")
            finally:
                self._closing.set()
                self.places.hive_record.unlink(missing_ok=True)
                await server.close()
                self.devices.close()

    async def _begin(
        self,
        group: asyncio.TaskGroup,
        session: aiohttp.ClientSession,
        url: str,
        said: NodeRegistration,
    ) -> None:
        self.workers.backends = await backends.probe()
        self._identity = self._identity.model_copy(
            update={"backends": list(self.workers.backends.names)}
        )
        await self.workers.start(group, callback_url=f"{url}/v1/workers/ready")
        self.ready = True
        group.create_task(self._telemetry(), name="telemetry")
        group.create_task(self._checksums(), name="checksums")
        if self.settings.queen is not None:
            queen = QueenAddress(self.settings.queen, self.settings.queen_certificate)
            self._beats = Beats(session, queen, said, self.feed)
            group.create_task(self._beats.run(), name="heartbeats")
        self._write_record(url, said)
        logs.get("hive").info("serving", url=said.url, node=self.node_id, pid=os.getpid())

    async def _open_port(self, server: Server, url: str) -> NodeRegistration:
        """Open the port with TLS where one is asked for; how a queen reaches this hive.

        Raises:
            Conflict, Refused: the port is taken, or the address is none.
        """
        certificate = None
        if self.settings.listen is not None:
            what = "--listen"
            host, port = listen_address(self.settings.listen, port=HIVE_TLS_PORT, what=what)
            names = (host, self.identity.hostname)
            file = self.places.state / "hive-certificate.pem"
            own = await asyncio.to_thread(own_certificate, file, names)
            found = await server.open_port(
                host, port, choose=f"{what} ADDRESS:PORT", tls=own.for_server()
            )
            url, certificate = url_of("https", host, found), own.fingerprint
        return NodeRegistration(
            node_id=self.node_id,
            url=url,
            token=self.token.reveal(),
            certificate=certificate,
            hostname=self.identity.hostname,
            version=__version__,
            protocol=self.identity.protocol,
            labels=self.settings.labels,
            region=self.settings.region,
        )

    async def snapshot(self) -> HiveSnapshot:
        """Everything this hive knows now."""
        return HiveSnapshot(
            identity=self.identity,
            at=self.clock.utc(),
            devices=self.workers.with_leases(await self.devices.read()),
            workers=self.workers.infos(),
            models=self.shelf.all(),
            pulls=list(self.pulls.values()),
            load_1m=_load(),
            disk_free=self.disk_free(),
        )

    @property
    def identity(self) -> HiveIdentity:
        """Who this hive is."""
        return self._identity

    def disk_free(self) -> int | None:
        """Free bytes where models are kept."""
        path = self.places.models
        while not path.exists():
            path = path.parent
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

    async def pull(
        self, model: CatalogModel, on_progress: Callable[[PullProgress], None]
    ) -> ModelFile:
        """Have a model on this host; progress goes to `on_progress` and to the feed.

        Raises:
            RbeeError: no source had it, the disk is too full, the bytes are others.
        """

        def tell(progress: PullProgress) -> None:
            if self.pulls.get(model.id) is not progress:
                # Two who wait for one download are both told; the feed is told once.
                self.pulls[model.id] = progress
                self.feed.publish("pull", progress)
            on_progress(progress)

        known = self.shelf.get(model.id)
        try:
            file = await self._puller.pull(model, tell)
        except RbeeError as error:
            self.feed.publish(
                "pull", PullProgress(model=model.id, phase="error", error=error.message)
            )
            raise
        finally:
            self.pulls.pop(model.id, None)
        if known is None:
            self._unhashed.set()
            self.feed.publish("model", file)
            self.feed.publish(
                "pull",
                PullProgress(
                    model=model.id, phase="done", done=file.size, total=file.size, file=file
                ),
            )
        return file

    def forget_model(self, model_id: str, *, delete: bool) -> bool:
        """Take a model off the shelf; whether it was there."""
        gone = self.shelf.remove(model_id, delete)
        if gone:
            self.feed.publish("model_gone", {"id": model_id})
        return gone

    async def _checksums(self) -> None:
        """Hash what was registered without a checksum, one file after the other."""
        while True:
            self._unhashed.clear()
            for file in self.shelf.all():
                if file.sha256 is None:
                    await self._hash(file.id)
            await self._unhashed.wait()

    async def _hash(self, model_id: str) -> None:
        try:
            await asyncio.to_thread(self.shelf.verify, model_id, stop=self._closing)
        except (OSError, RbeeError) as error:
            logs.get("hive").warning("not hashed", model=model_id, problem=str(error))
            return
        hashed = self.shelf.get(model_id)
        if hashed is not None:
            self.feed.publish("model", hashed)

    async def _telemetry(self) -> None:
        """Once a second, on the beat: what changes all the time."""
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            beat = max(beat + TELEMETRY_S, loop.time())
            await asyncio.sleep(beat - loop.time())
            told = Telemetry(
                node_id=self.node_id,
                at=self.clock.utc(),
                devices=self.workers.with_leases(await self.devices.read()),
                workers=self.workers.gauges(),
                load_1m=_load(),
                disk_free=self.disk_free(),
            )
            self.feed.publish("telemetry", told)
            if self._beats is not None:
                models = (file.id for file in self.shelf.all())
                self._beats.beat(heartbeat(told, self.workers.infos(), models))

    def _refuse_second(self) -> None:
        said = read_json(self.places.hive_record)
        if said is None or not isinstance(said.get("pid"), int):
            return
        if Identity(said["pid"], float(said.get("start_time", 0))).alive:
            raise Conflict(f"this user's hive runs already: {said.get('url')} (pid {said['pid']})")

    def _write_record(self, url: str, way: NodeRegistration) -> None:
        own = Identity.of(os.getpid())
        said = {
            "pid": own.pid,
            "start_time": own.started,
            "url": url,
            "version": __version__,
            "node_id": self.node_id,
            "token_file": str(self.places.hive_token),
            "listen": self.settings.listen,
            "queen": self.settings.queen,
            "queen_certificate": self.settings.queen_certificate,
            "queen_url": way.url,
            "certificate": way.certificate,
        }
        write_atomic(self.places.hive_record, json.dumps(said))


class _StopError(Exception):
    """Ends the daemon's task group."""


def _load() -> float | None:
    try:
        return psutil.getloadavg()[0]
    except OSError:
        return None
