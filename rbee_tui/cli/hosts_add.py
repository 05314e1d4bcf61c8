"""Getting to know hosts: keys shown and pinned, logins tried, hives.toml written."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rbee_agent.errors import EXIT_OK, EXIT_PARTLY, RbeeError, Refused
from rbee_agent.ssh import host_key
from rbee_agent.ssh.dial import resolve
from rbee_agent.ssh.public_key import line_of
from rbee_agent.ssh.shell import Shell
from rbee_tui.cli.output import confirm, emit, note
from rbee_tui.cli.session import Session
from rbee_tui.fleet import hosts_file, ssh_config
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.remote import Remote


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a host is let in."""

    accept_key: str | None = None
    copy_key: bool = False
    yes: bool = False


async def add_host(session: Session, host: Host, wanted: Wanted) -> Host:
    """Pin its key, try the login, keep it; of a known host what is not said anew stays.

    Raises:
        Refused: the key is not accepted, or the host does not let us in; nothing is kept.
    """
    hosts_file.check_name(host.name)
    path = session.places.hosts_file
    known = hosts_file.read(path).get(host.name)
    if known is not None:
        host = hosts_file.merged(known, host)
    host = await pinned(host, wanted)
    if wanted.copy_key:
        await _copy_key(host)
    async with await Shell.open(host.target) as shell:
        remote = Remote(host, shell, _silent)
        python = await remote.python()
    hosts_file.put(path, host)
    emit(f"{host.name} is known: {resolve(host.target)}, {python}; host key pinned")
    moved = known is not None and (known.target, known.listen) != (host.target, host.listen)
    if known is not None and known.node_id is not None and moved:
        note(f"the queen still goes the old way to it: `rbee hive start {host.name}` tells her")
    return host


def _silent(text: str, detail: str = "", /, *, lasting: bool = False) -> None:
    """Nothing is told of steps that take no time."""


async def pinned(host: Host, wanted: Wanted) -> Host:
    """The host with the key that it shows, once somebody vouches for it.

    Raises:
        Refused: the key is another than the known one, or nobody vouches.
    """
    target = host.target
    verdict = await host_key.look(target)
    trusted = host.host_key.splitlines() if host.host_key else []
    if verdict.changed:
        if not trusted:
            trusted = [line_of(key) for key in host_key.known_keys(resolve(target))]
        raise host_key.changed(target, verdict, trusted)
    if not verdict.known:
        note(f"{host.name} shows the host key {verdict.fingerprint}, which nobody here knows yet.")
        if wanted.accept_key is not None:
            if wanted.accept_key != verdict.fingerprint:
                raise Refused(
                    f"{host.name} shows another host key than the one you gave: "
                    f"{verdict.fingerprint}, not {wanted.accept_key}; nothing was sent",
                    code="FORBIDDEN",
                )
        elif not confirm("Is it the right one?", yes=wanted.yes):
            raise host_key.unknown(target, verdict)
    return replace(host, host_key=verdict.line)


async def _copy_key(host: Host) -> None:
    """Leave the operator's own public key there, by a password asked for once."""
    lines = _public_keys()
    if not lines:
        raise Refused("you have no public key in ~/.ssh: make one with ssh-keygen -t ed25519")
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass(f"Password of {resolve(host.target)}: ")
    async with await Shell.open(host.target, password=password) as shell:
        remote = Remote(host, shell, _silent)
        await remote.allow_key(lines[0])
    note("your public key is there now; the password was not kept")


def _public_keys() -> list[str]:
    folder = Path.home() / ".ssh"
    names = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
    return [
        text
        for name in names
        if (folder / name).is_file()
        and len((text := (folder / name).read_text().strip()).split()) >= 3
    ]


def importable(session: Session) -> list[str]:
    """The hosts that ~/.ssh/config names and hives.toml does not know."""
    known = hosts_file.read(session.places.hosts_file)
    return [name for name in ssh_config.names() if name not in known]


async def import_hosts(session: Session, names: list[str], *, yes: bool) -> int:
    """Add hosts of ~/.ssh/config; 0, or 8 where some could not be added."""
    failed = 0
    for name in names:
        try:
            await add_host(session, Host(name), Wanted(yes=yes))
        except RbeeError as error:
            failed += 1
            note(f"{name}: {error.message}")
            if len(names) == 1:
                return error.exit_code
    return EXIT_PARTLY if failed else EXIT_OK
