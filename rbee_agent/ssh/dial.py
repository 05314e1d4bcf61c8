"""How asyncssh is told a target, where that leads, and what to say where it leads nowhere."""

from __future__ import annotations

import errno
import getpass
import socket
from pathlib import Path
from typing import Any

import asyncssh

from rbee_agent.errors import RbeeError, Refused, Unreachable
from rbee_agent.ssh.public_key import parse
from rbee_agent.ssh.target import Resolved, Target


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


def resolve(target: Target) -> Resolved:
    """Apply ~/.ssh/config to a target.

    Raises:
        Refused: the configuration cannot be read; says why.
    """
    options = options_of(target)
    return Resolved(
        options.host or target.dialled,
        options.port,
        options.username,
        options.tunnel if isinstance(options.tunnel, str) else None,
    )


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
