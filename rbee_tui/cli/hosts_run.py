"""Doing one thing on many hosts: progress on stderr, results on stdout, one exit code."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rbee_agent.errors import NotFound, RbeeError, Unreachable
from rbee_agent.ssh.shell import Shell
from rbee_tui.cli.board import Board
from rbee_tui.cli.output import emit, emit_json, note, table
from rbee_tui.cli.session import Session
from rbee_tui.fleet import hosts_file, link
from rbee_tui.fleet.doctor import Finding, examine
from rbee_tui.fleet.hosts_file import NO_PORT, Host
from rbee_tui.fleet.install import Package, from_source, install
from rbee_tui.fleet.many import AT_A_TIME, Outcome, on_each
from rbee_tui.fleet.remote import Remote
from rbee_tui.fleet.wheels import Wheels

if TYPE_CHECKING:
    from rbee_agent.client.queen import QueenClient

_FOLLOW_S = 365 * 24 * 3600.0
_GO_ON = ("install", "update", "uninstall")
"""What may take minutes, and is left half done by whoever presses Ctrl-C."""
_PORT = ("listen", "queen", "queen_certificate")
Result = dict[str, Any]
Port = dict[str, str | None]


async def do(
    session: Session, what: str, names: list[str], options: dict[str, Any], *, as_json: bool
) -> int:
    """Do `what` on the named hosts.

    Returns:
        The exit code: 8 where it worked on some only.
    """
    hosts = [hosts_file.one(session.places.hosts_file, name) for name in names]
    async with _maybe_queen(session) as queen:
        run = Run(session, options, queen)
        try:
            async with Board() as board:
                if what in ("install", "update"):
                    board.tell("this machine", "building rbee's wheel")
                    run.own = await Package.own(session.places.cache / "wheels" / "own")
                    board.drop("this machine")
                outcome = await on_each(hosts, getattr(run, what), board.tell)
        except asyncio.CancelledError:
            if what in _GO_ON:
                again = f"rbee hive {what} {' '.join(names)}"
                note(f"what was begun has ended on the hosts, too; `{again}` goes on")
            raise
    _show(outcome, as_json=as_json)
    return outcome.exit_code


class Run:
    """One command's work on each host; its public methods are named after the commands."""

    def __init__(
        self, session: Session, options: dict[str, Any], queen: QueenClient | None
    ) -> None:
        self._session = session
        self._options = options
        self._queen = queen
        self._wheels = Wheels(session.places.cache / "wheels")
        self.own: Package | None = None

    async def install(self, remote: Remote) -> Result:
        """Install, and start unless told otherwise."""
        made = await self._install(remote)
        if not self._options.get("start", True):
            return made
        result = made | await self.start(remote)
        if result["stale"]:
            remote.tell(
                f"its hive still runs what was there before: `rbee hive update {remote.host.name}` "
                "drains and restarts it",
                lasting=True,
            )
        return result

    async def update(self, remote: Remote) -> Result:
        """Drain, install, switch, start again."""
        node_id = remote.host.node_id
        queen = self._queen
        if queen is not None and node_id is not None:
            await _drained(queen, node_id, remote, float(self._options["drain"]))
        try:
            made = await self._install(remote)
            if made["switched"] or (await remote.status("hive")).get("stale"):
                remote.tell("restarting the hive")
                await remote.stop("hive")
                await remote.call("daemon", {"do": "end_workers", "agent": "hive"}, timeout=60.0)
            return made | await self.start(remote)
        finally:
            if queen is not None and node_id is not None:
                await _take_back(queen, node_id, remote)

    async def start(self, remote: Remote) -> Result:
        """Start the hive, remember who it is, tell the queen."""
        remote.tell("starting the hive")
        port = await self._port(remote.host)
        env = {"RBEE_HIVE_PORT": str(remote.host.hive_port)} | _environment(port)
        record = await remote.start("hive", env)
        if remote.host.listen is not None and record["already"] and port != _port_of(record):
            remote.tell("starting the hive anew: it listens elsewhere")
            await remote.stop("hive")
            record = await remote.start("hive", env)
        result: Result = {
            "url": record.get("queen_url") or record["url"],
            "node_id": record.get("node_id"),
            "stale": record["stale"],
        }
        if record.get("node_id") and record["node_id"] != remote.host.node_id:
            path = self._session.places.hosts_file
            known = hosts_file.one(path, remote.host.name)
            hosts_file.put(path, replace(known, node_id=record["node_id"]))
        if self._queen is None:
            remote.tell(
                "its hive runs, but no queen answers here to be told of it: "
                f"`rbee up`, then `rbee hive start {remote.host.name}`",
                lasting=True,
            )
            return result | {"state": "running", "queen": None}
        await link.introduce(self._queen, remote, record)
        return result | {"state": "running", "queen": self._queen.url}

    async def stop(self, remote: Remote) -> Result:
        """Stop the hive."""
        stopped = await remote.stop("hive")
        return {"state": "stopped", "was_running": stopped["was_running"]}

    async def status(self, remote: Remote) -> Result:
        """What runs there."""
        found = await remote.status("hive")
        state = "running" if found["running"] else "stopped"
        shown = {name: found.get(name) for name in ("version", "kept", "node_id")}
        return {"state": state, "url": found.get("queen_url") or found.get("url")} | shown

    async def uninstall(self, remote: Remote) -> Result:
        """Take everything off, and the host off the queen's list."""
        if self._queen is not None:
            await link.forget(self._queen, remote)
        removed = await remote.remove(purge_models=bool(self._options["purge_models"]))
        kept = removed["kept_models"]
        for path in kept:
            remote.tell(f"kept the model {path} (--purge-models removes it)", lasting=True)
        return {"state": "removed", "kept_models": kept}

    async def _port(self, host: Host) -> Port:
        """What a host's hive opens, and the queen that it sends heartbeats to."""
        if host.listen in (None, NO_PORT):
            return {}
        queen = await self._queen.queen_key() if self._queen is not None else None
        if queen is None or queen.listen is None:
            return {"listen": host.listen}
        return {
            "listen": host.listen,
            "queen": queen.listen,
            "queen_certificate": queen.certificate,
        }

    async def _install(self, remote: Remote) -> Result:
        url = self._options.get("from_git") or remote.host.from_git
        if url:
            hosts_file.put(self._session.places.hosts_file, replace(remote.host, from_git=str(url)))
            await remote.call("install", {"begin": True}, timeout=60.0)
            await remote.call("source", {"do": "pull", "url": url}, timeout=600.0)
            return await from_source(remote, self._wheels, index=self._options.get("index"))
        assert self.own is not None  # noqa: S101 - `do` made it for these commands
        return await install(
            remote,
            self.own,
            self._wheels,
            offline=bool(self._options.get("offline")),
            index=self._options.get("index"),
        )


def _environment(port: Port) -> dict[str, str]:
    return {f"RBEE_HIVE_{name.upper()}": value for name, value in port.items() if value}


def _port_of(record: Result) -> Port:
    """What a running hive opened, and whom it sends heartbeats to."""
    return {name: record[name] for name in _PORT if record.get(name)}


async def examine_hosts(session: Session, names: list[str]) -> dict[str, list[Finding]]:
    """What the doctor finds on each host."""
    hosts = [hosts_file.one(session.places.hosts_file, name) for name in names]
    found: dict[str, list[Finding]] = {}
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(host: Host) -> None:
        async with gate:
            found[host.name] = await examine(host, board.tell)

    async with Board() as board, asyncio.TaskGroup() as group:
        for host in hosts:
            group.create_task(one(host))
    return {host.name: found[host.name] for host in hosts}


async def show_log(session: Session, name: str, agent: str, *, lines: int, follow: bool) -> None:
    """Print the log of an agent on a host.

    Raises:
        NotFound: there is none yet.
    """
    from rbee_tui.state.clean import clean

    host = hosts_file.one(session.places.hosts_file, name)
    log = f'"$HOME"/.local/state/rbee/logs/{shlex.quote(agent)}.log'
    words = f"tail -n {lines} {'-F' if follow else ''} {log}"
    async with await Shell.open(host.target) as shell:
        ran = await shell.run(
            f"exec {words}",
            timeout=_FOLLOW_S if follow else 60.0,
            on_line=lambda line: emit(clean(line.decode(errors="replace"))),
        )
    if ran.code != 0:
        raise NotFound(f"{name}: no log of the {agent} yet: {ran.err.strip()}")


@asynccontextmanager
async def _maybe_queen(session: Session) -> AsyncIterator[QueenClient | None]:
    """The queen, if one answers."""
    async with session.queen(timeout=10.0) as queen:
        try:
            await queen.health()
        except Unreachable:
            yield None
        else:
            yield queen


async def _drained(queen: QueenClient, node_id: str, remote: Remote, patience: float) -> None:
    """Let a host finish what it does, for so many seconds."""
    remote.tell("draining")
    try:
        await queen.drain_node(node_id)
    except NotFound:
        return
    try:
        async with asyncio.timeout(patience):
            async with aclosing(queen.events()) as events:
                async for _ in events:
                    workers = await queen.workers()
                    if not any(w.node_id == node_id and w.slots_busy for w in workers):
                        return
    except TimeoutError:
        words = f"still busy after {patience:g} s; the queen moves what runs"
        remote.tell(words, lasting=True)


async def _take_back(queen: QueenClient, node_id: str, remote: Remote) -> None:
    try:
        await queen.drain_node(node_id, drain=False)
    except RbeeError as error:
        remote.tell(f"the queen still spares it: {error.message}", lasting=True)


def _show(outcome: Outcome[Result], *, as_json: bool) -> None:
    if as_json:
        failed = {name: error.body() for name, error in outcome.failed.items()}
        emit_json({"hosts": outcome.done, "failed": failed})
        return
    rows = [
        (name, result.get("state") or "installed", result.get("version"), result.get("url"))
        for name, result in sorted(outcome.done.items())
    ]
    rows += [(name, "failed", None, None) for name in sorted(outcome.failed)]
    emit(table(("HOST", "STATE", "VERSION", "HIVE"), rows))
