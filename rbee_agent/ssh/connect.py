"""SSH connections, and what to tell a person when there is none."""

from __future__ import annotations

import asyncio
import errno
import getpass
import socket
from pathlib import Path
from typing import Any

import asyncssh

from rbee_agent.errors import RbeeError, Refused, Unreachable
from rbee_agent.ssh.target import Resolved, Target, resolve

CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 20.0
KEEPALIVE_S = 15.0
KEEPALIVE_COUNT = 3


def arguments_of(target: Target, *, config: bool = True) -> dict[str, Any]:
    """How asyncssh is told a target; ~/.ssh/config gives whatever the target leaves open.

    Raises:
        Refused: the pinned host key is none.
    """
    file = Path.home() / ".ssh" / "config"
    # Named rather than left to asyncssh, whose options read it in some of its functions only.
    read = [str(file)] if config and file.is_file() else None
    given: dict[str, Any] = {"host": target.dialled, "config": read}
    for name, value in (("port", target.port), ("username", target.user), ("tunnel", target.jump)):
        if value is not None:
            given[name] = value
    if target.identity is not None:
        # Only the key that was named, or sshd ends the talk before its turn comes.
        given |= {"client_keys": [target.identity], "agent_path": None}
    if target.host_key:
        from rbee_agent.ssh.host_key import parse

        given["known_hosts"] = (parse(target.host_key), [], [])
    return given


def options_of(target: Target, *, config: bool = True) -> asyncssh.SSHClientConnectionOptions:
    """The options that a connection to a target will have.

    Raises:
        Refused: ~/.ssh/config or a key file cannot be read; says why.
    """
    given = arguments_of(target, config=config)
    try:
        return asyncssh.SSHClientConnectionOptions(**given)
    except (asyncssh.ConfigParseError, asyncssh.KeyImportError, OSError, ValueError) as error:
        raise Refused(
            f"cannot prepare a connection to {target.name}: {error}; look into ~/.ssh/config"
        ) from error


async def connect(
    target: Target,
    *,
    password: str | None = None,
    tunnel: asyncssh.SSHClientConnection | None = None,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    keepalive: float = KEEPALIVE_S,
    keepalive_count: int = KEEPALIVE_COUNT,
    config: bool = True,
) -> asyncssh.SSHClientConnection:
    """Open a connection; the caller closes it (it is an async context manager).

    Args:
        target: where to.
        password: tried where keys do not do; never stored.
        tunnel: go through this connection rather than through the target's own jump.
        connect_timeout: seconds for TCP.
        keepalive: seconds of silence after which the peer is asked for a sign of life.
        keepalive_count: unanswered asks after which the connection counts as lost.
        config: whether ~/.ssh/config counts; the queen goes by her own records only.

    Raises:
        Refused: the host or its key is not trusted, or it does not let us in.
        Unreachable: nobody answered there.
    """
    more = arguments_of(target, config=config) | {
        "connect_timeout": connect_timeout,
        "login_timeout": LOGIN_TIMEOUT_S,
        "keepalive_interval": keepalive,
        "keepalive_count_max": keepalive_count,
    }
    if password is not None:
        more |= {"password": password, "client_keys": None, "agent_path": None}
    if tunnel is not None:
        more["tunnel"] = tunnel
    options_of(target, config=config)
    try:
        async with asyncio.timeout(connect_timeout + LOGIN_TIMEOUT_S):
            return await asyncssh.connect(**more)
    except asyncssh.HostKeyNotVerifiable as error:
        raise await _key_refusal(target, tunnel, error) from error
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise explain(error, target, resolve(target)) from error


async def _key_refusal(
    target: Target, tunnel: asyncssh.SSHClientConnection | None, error: Exception
) -> RbeeError:
    """Which key was shown, and whether another one was known."""
    from rbee_agent.ssh import host_key

    if tunnel is not None:
        return Refused(
            f"the host key of {target.name} is not the pinned one ({error}); "
            f"`rbee hive doctor {target.name}` says more",
            code="FORBIDDEN",
        )
    where = resolve(target)
    verdict = await host_key.look(target)
    if verdict.known:
        return Refused(
            f"a host on the way to {target.name} (jump {where.jump}) is unknown or has changed "
            f"its key: {error}; log in there once with ssh to see and accept it",
            code="FORBIDDEN",
        )
    trusted = (
        target.host_key.splitlines()
        if target.host_key
        else [host_key.line_of(key) for key in host_key.known_keys(where)]
    )
    if verdict.changed:
        return host_key.changed(target, verdict, trusted)
    return host_key.unknown(target, verdict)


def explain(error: BaseException, target: Target, where: Resolved) -> RbeeError:
    """The sentence for a failed connection: what was tried, what came back, what to do."""
    tried = f"ssh to {target.name} ({where}{', jump ' + where.jump if where.jump else ''})"
    if isinstance(error, asyncssh.PermissionDenied):
        return Refused(
            f"{tried}: the host refused the login: {_said(error)}. Wrong user (--user; this is "
            f"{where.user}, you are {getpass.getuser()} here), or it does not know your key: "
            f"`ssh-copy-id -p {where.port} {where.user}@{where.address}`, or `rbee hive add "
            f"{target.name} --copy-key`",
            code="FORBIDDEN",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(f"{tried}: the jump host cannot reach it: {_said(error)}")
    if isinstance(error, (TimeoutError, asyncssh.ConnectionLost)) or (
        isinstance(error, OSError) and error.errno == errno.ETIMEDOUT
    ):
        return Unreachable(
            f"{tried}: no answer in time ({_said(error)}); is the host on, and is the port right?"
        )
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Unreachable(
            f"{tried}: no way leads to that address; is the host on and in a network that this "
            f"machine reaches, and is the address right (--address)?"
        )
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"{tried}: no address is known for {where.address}; check the name, or add it "
            f"to ~/.ssh/config"
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"{tried}: nobody listens on port {where.port}; is sshd running there, "
            f"or on another port (--port)?"
        )
    if isinstance(error, asyncssh.DisconnectError):
        return Unreachable(f"{tried}: the host ended the talk: {_said(error)}; try `ssh -v`")
    return Unreachable(f"{tried}: {_said(error)}")


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
