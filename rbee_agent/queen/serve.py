"""One queen of one user: bind, say where she is, serve, take the note away again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import sys

from rbee_agent import __version__
from rbee_agent.contracts.routes import QUEEN_TLS_PORT
from rbee_agent.errors import Conflict
from rbee_agent.http.capacity import most_requests, raise_file_limit
from rbee_agent.http.server import Server
from rbee_agent.models.catalog import builtin
from rbee_agent.observe import logs
from rbee_agent.queen.api.app import make_app
from rbee_agent.queen.service import Queen, QueenOptions
from rbee_agent.queen.statics import parse
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.runtime.processes import Identity
from rbee_agent.security.certificate import own_certificate
from rbee_agent.settings.config import QueenSettings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret
from rbee_agent.wire.addresses import listen_address, url_of

CHOOSE_PORT = "queen-rbee --port N, RBEE_QUEEN_PORT or queen.port in config.toml"


async def serve(places: Places, settings: QueenSettings, stop: asyncio.Event) -> None:
    """Run a queen until `stop` is set.

    Raises:
        Conflict: this user's queen runs already, or the port is taken.
        RbeeError: the store cannot be opened.
    """
    refuse_second(places)
    upstream = os.environ.get("RBEE_UPSTREAM_TOKEN")
    queen = await Queen.open(
        QueenOptions(
            places=places,
            settings=settings,
            builtin=list(builtin().values()),
            static_workers=parse(os.environ.get("ORCHD_WORKERS", "")),
            upstream_token=Secret(upstream) if upstream else None,
        )
    )
    most = most_requests(raise_file_limit())
    app = make_app(queen, allowed_hosts=_names(settings), most=most)
    _tune_interpreter()
    server = Server(app, shutdown_timeout=1.0)
    try:
        await server.start(settings.host, settings.port, choose=CHOOSE_PORT)
        if settings.listen is not None:
            await _open_port(queen, server, settings.listen)
    except BaseException:
        await queen.close()
        await server.close()
        raise
    url = f"http://{_url_host(settings.host)}:{server.port}"
    _write_record(places, url)
    logs.get("queen").info("serving", url=url, pid=os.getpid(), version=__version__)
    try:
        await queen.run(stop)
    finally:
        _remove_record(places)
        await server.close()


async def _open_port(queen: Queen, server: Server, said: str) -> None:
    """Listen where hives send their heartbeats, with TLS.

    Raises:
        Conflict, Refused: the port is taken, or the address is none.
    """
    what = "queen.listen"
    host, port = listen_address(said, port=QUEEN_TLS_PORT, what=what)
    names = (host, socket.gethostname())
    file = queen.options.places.state / "queen-certificate.pem"
    own = await asyncio.to_thread(own_certificate, file, names)
    found = await server.open_port(
        host, port, choose="queen-rbee --listen ADDRESS:PORT", tls=own.for_server()
    )
    queen.hosts.listen, queen.hosts.certificate = url_of("https", host, found), own.fingerprint
    logs.get("queen").info("listening", url=queen.hosts.listen, certificate=own.fingerprint)


def _tune_interpreter() -> None:
    """Keep the interpreter's own work from standing still the event loop.

    Call it when all is imported and made.
    """
    # The store's thread waits for the interpreter's lock several times a commit: with the usual
    # 5 ms each, a busy event loop would make every task wait for it.
    sys.setswitchinterval(0.0005)
    # A full collection walks every waiting task and every host, for 0.1 s and more, and the usual
    # thresholds have one for each quarter that they grow by: nearly nothing of ours is in a cycle.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def refuse_second(places: Places) -> None:
    """Refuse to start beside a queen of the same user.

    Raises:
        Conflict: there is one; names where.
    """
    record = read_json(places.queen_record)
    if record is None or not _lives(record):
        return
    raise Conflict(
        f"your queen runs already at {record.get('url')} (pid {record.get('pid')}); "
        "`rbee queen stop` ends it"
    )


def _lives(record: dict[str, object]) -> bool:
    """Whether the process of a record still runs; one that is dead but not reaped does not."""
    pid, started = record.get("pid"), record.get("start_time")
    if not isinstance(pid, int) or not isinstance(started, int | float) or pid == os.getpid():
        return False
    return Identity(pid, started).alive


def _write_record(places: Places, url: str) -> None:
    import psutil

    record = {
        "pid": os.getpid(),
        "start_time": psutil.Process().create_time(),
        "url": url,
        "version": __version__,
    }
    write_atomic(places.queen_record, json.dumps(record), durable=False)


def _remove_record(places: Places) -> None:
    """Take the note away, unless it is another queen's by now."""
    record = read_json(places.queen_record) or {}
    if record.get("pid") == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            places.queen_record.unlink()


def _names(settings: QueenSettings) -> list[str]:
    """By which names callers may call her beside loopback ones."""
    name = socket.gethostname()
    return [settings.host, name, name.partition(".")[0], socket.getfqdn()]


def _url_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - told apart, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
