"""Host keys: what a host shows, what is known of it, and the sentence where the two differ."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from rbee_agent.errors import Refused, Unreachable
from rbee_agent.ssh.dial import arguments_of, explain, resolve
from rbee_agent.ssh.public_key import fingerprint, line_of, parse
from rbee_agent.ssh.target import Resolved, Target

KEY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a host showed, and whether this user knows it."""

    line: str
    """``ssh-ed25519 AAAA…``, without a comment."""
    fingerprint: str
    known: bool
    changed: bool


def known_keys(where: Resolved) -> list[asyncssh.SSHKey]:
    """The keys that this user's known_hosts has for a host; none where there is no such file."""
    file = Path.home() / ".ssh" / "known_hosts"
    if not file.is_file():
        return []
    found = asyncssh.match_known_hosts(str(file), where.address, where.address, where.port)
    return [key for key in found[0] if isinstance(key, asyncssh.SSHKey)]


async def look(target: Target, *, timeout: float = KEY_TIMEOUT_S) -> Verdict:
    """Ask a host for its key and judge it; nothing is written anywhere.

    Raises:
        Unreachable: nobody spoke SSH there.
    """
    where = resolve(target)
    trusted = parse(target.host_key) if target.host_key else known_keys(where)
    # Ask for a kind of key that is known, so that a host with several shows the one we can judge.
    kinds = sorted({key.get_algorithm() for key in trusted})
    try:
        async with asyncio.timeout(timeout):
            key = await _shown(target, _kinds(kinds))
    except (OSError, asyncssh.Error, TimeoutError) as error:
        if kinds and isinstance(error, asyncssh.KeyExchangeFailed):
            # It has no key of a kind that we know: it shows another, which is a changed one.
            return await _without(target, timeout)
        raise explain(error, target, where) from error
    if key is None:
        raise Unreachable(f"{where} showed no host key")
    line = line_of(key)
    known = line in [line_of(each) for each in trusted]
    return Verdict(line, key.get_fingerprint(), known, bool(trusted) and not known)


async def _without(target: Target, timeout: float) -> Verdict:
    async with asyncio.timeout(timeout):
        key = await _shown(target, {})
    if key is None:
        raise Unreachable(f"{target.dialled} showed no host key")
    return Verdict(line_of(key), key.get_fingerprint(), False, True)


async def _shown(target: Target, more: dict[str, Any]) -> asyncssh.SSHKey | None:
    taken = ("host", "port", "tunnel", "config")
    given = {name: value for name, value in arguments_of(target).items() if name in taken}
    return await asyncssh.get_server_host_key(**(given | more))


def _kinds(kinds: list[str]) -> dict[str, list[str]]:
    if not kinds:
        return {}
    # A key of kind ssh-rsa signs with these today.
    wide = {"ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]}
    return {"server_host_key_algs": [alg for kind in kinds for alg in wide.get(kind, [kind])]}


def unknown(target: Target, verdict: Verdict) -> Refused:
    """The refusal of a host whose key nobody has vouched for yet."""
    return Refused(
        f"{target.name} is unknown: it showed the host key {verdict.fingerprint}; "
        f"compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints there, "
        f"then run `rbee hive add {target.name} --accept-key {verdict.fingerprint}`",
        code="FORBIDDEN",
        details={"fingerprint": verdict.fingerprint, "host_key": verdict.line},
    )


def changed(target: Target, verdict: Verdict, trusted: list[str]) -> Refused:
    """The refusal of a host that shows another key than the known one."""
    before = ", ".join(fingerprint(line) for line in trusted) or "another one"
    return Refused(
        f"the host key of {target.name} has changed: it showed {verdict.fingerprint}, known is "
        f"{before}. Somebody may be listening in, or the host was installed anew; nothing was "
        f"sent. If you know that it is right: `rbee hive rm {target.name}`, remove it with "
        f"`ssh-keygen -R {target.dialled}`, and add it again",
        code="FORBIDDEN",
        details={"fingerprint": verdict.fingerprint, "host_key": verdict.line},
    )
